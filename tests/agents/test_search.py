from __future__ import annotations

import numpy as np
import pytest

from samstar_rl.agents.search.ask_tell import GeneticSearch, RefinedSearch, maximise, run_search


def hill(vector):
    return -float(np.sum((vector - 0.3) ** 2))


@pytest.mark.parametrize("kind", [GeneticSearch, RefinedSearch])
def test_starts_where_told_and_never_ends_worse(kind):
    start = np.full((1, 5), 0.1)
    found = maximise(kind(5, seed=0, start=start), hill, 150)
    assert found.vectors[0] == pytest.approx(start[0])
    assert found.reward >= hill(start[0])
    assert found.reward == found.rewards.max() == hill(found.vector)


@pytest.mark.parametrize("kind", [GeneticSearch, RefinedSearch])
@pytest.mark.parametrize("budget", [1, 20, 57])
def test_spends_exactly_its_budget(kind, budget):
    calls = []
    maximise(kind(3, seed=0), lambda vector: calls.append(1) or 0.0, budget)
    assert len(calls) == budget


def test_genetic_search_maximises():
    genetic = maximise(GeneticSearch(6, seed=0), hill, 300).reward
    drawn = np.random.default_rng(0).uniform(-1.0, 1.0, (300, 6))
    assert genetic > max(map(hill, drawn))
    assert genetic > -0.15


@pytest.mark.parametrize("kind", [GeneticSearch, RefinedSearch])
def test_same_seed_same_search(kind):
    runs = [maximise(kind(4, seed=seed), hill, 90).vectors for seed in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_survivors_are_the_best_first():
    search = GeneticSearch(3, seed=0)
    maximise(search, hill, 100)
    rewards = [hill(vector) for vector in search.survivors()]
    assert rewards == sorted(rewards, reverse=True)


def test_a_flat_reward_is_survived():
    maximise(GeneticSearch(2, seed=0, start=np.zeros((1, 2))), lambda vector: 0.0, 200)


def test_pareto_search_finds_both_ends():
    def evaluate(vectors):
        return np.stack([vectors[:, 0], -vectors[:, 0]], axis=1)

    search = GeneticSearch(2, seed=0, population=40, n_objectives=2)
    vectors, values = run_search(search, evaluate, 480)
    assert vectors.shape == values.shape == (480, 2)
    assert values[:, 0].max() > 0.95 and values[:, 1].max() > 0.95


def test_whatever_pays_for_it_ends_a_search():
    answers = iter([np.zeros(20), np.zeros(20), None])
    rounds = []
    vectors, _ = run_search(
        GeneticSearch(2, seed=0),
        lambda asked: next(answers),
        1000,
        on_round=lambda vectors, values: rounds.append(len(values)),
    )
    assert len(vectors) == 40 and rounds == [20, 40]


def test_no_budget_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        maximise(GeneticSearch(2, seed=0), hill, 0)


def test_refinement_gets_closer_than_crossover_alone():
    gaps = {}
    for kind in (GeneticSearch, RefinedSearch):
        gaps[kind] = np.mean([-maximise(kind(6, seed=s), hill, 150).reward for s in range(8)])
    assert gaps[RefinedSearch] < gaps[GeneticSearch]
