"""The benchmark: who takes part (`contenders`, one list), `plan`, `run`, and what came of it.

`prepare` makes contenders ready under equal `conditions`; `claims`, `report`, `figures` and
`tensorboard` read what a run has left, `pace` says what a cost takes on this machine.
"""
