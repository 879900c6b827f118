"""Parquet: the particle table with types and units, for frames by the thousand.

Written with pyarrow (extra `parquet`). The tables of a folder read as one:
``pandas.read_parquet(folder)`` or ``pyarrow.dataset.dataset``; the column ``frame`` tells them
apart.
"""

from __future__ import annotations

import json
from pathlib import Path

from samstar_rl.errors import MissingExtraError
from samstar_rl.results.result import SOFTWARE, FrameResult

METADATA_KEY = SOFTWARE.encode()


def write_parquet(path: Path, result: FrameResult) -> None:
    """Write the particle table, under the names of `regionprops_table` as the CSV has them.

    The frame's record (settings, score, terms) travels as metadata of the file, as JSON under the
    key ``samstar_rl``.

    Raises
    ------
    ImportError
        If pyarrow is not installed, naming the extra.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("Parquet", "pyarrow", "parquet") from error
    table = pyarrow.Table.from_pandas(result.particles(), preserve_index=False)
    record = json.dumps(result.to_record(), allow_nan=False).encode()
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), METADATA_KEY: record})
    pyarrow.parquet.write_table(table, path, compression="zstd")
