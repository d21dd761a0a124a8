"""What DuckDB, pandas and pyarrow read of clips.parquet and empty.parquet.

    pip install duckdb pandas pyarrow
    node test/oracle/manifest/write.ts && python test/oracle/manifest/oracle.py

Fails unless the three agree on every value and null, and on the columns of the empty set; writes clips.json, which
packages/store/test/Manifest.test.ts compares with its own reading.
"""

import json
import math
import pathlib

import duckdb
import pandas
import pyarrow.parquet

here = pathlib.Path(__file__).parent
clips, empty = str(here / "clips.parquet"), str(here / "empty.parquet")


def plain(value, is_json):
    if value is None or value is pandas.NA:
        return None
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(each, False) for each in value]
    if is_json and isinstance(value, str):
        return json.loads(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


table = pyarrow.parquet.read_table(clips)
arrow_types = {field.name: str(field.type) for field in table.schema}
is_json = {name: "json" in kind for name, kind in arrow_types.items()}
arrow = [{name: plain(value, is_json[name]) for name, value in row.items()} for row in table.to_pylist()]

relation = duckdb.sql(f"select * from '{clips}'")
duck_types = dict(zip(relation.columns, map(str, relation.types)))
duck = [dict(zip(relation.columns, row)) for row in relation.fetchall()]
duck = [{name: plain(value, is_json[name]) for name, value in row.items()} for row in duck]

frame = pandas.read_parquet(clips, dtype_backend="pyarrow")
panda = [{name: plain(row[name], is_json[name]) for name in frame.columns} for _, row in frame.iterrows()]


# Inside a list of numbers, NaN is how pandas says null.
panda = [
    {
        name: [None if each == "NaN" else each for each in value] if isinstance(value, list) else value
        for name, value in row.items()
    }
    for row in panda
]


# A scalar and its text are told apart by json.dumps; 1 and 1.0 are the same number.
def assert_same(name, one, two):
    for index, (left, right) in enumerate(zip(one, two, strict=True)):
        for column in left:
            assert left[column] == right[column], (name, index, column, left[column], right[column])


assert_same("duckdb", arrow, duck)
assert_same("pandas", arrow, panda)

nothing = pyarrow.parquet.read_table(empty)
assert nothing.num_rows == 0 and {field.name: str(field.type) for field in nothing.schema} == arrow_types
assert list(pandas.read_parquet(empty).columns) == list(arrow_types)
relation = duckdb.sql(f"select * from '{empty}'")
assert dict(zip(relation.columns, map(str, relation.types))) == duck_types and relation.fetchall() == []

query = f"""select "video.codec", sum("clip.bytes"), list(tags[1]) from '{clips}' group by 1 order by 1"""
assert duckdb.sql(query).fetchall() == [("av1", 5000000000, [None]), ("h264", 15000000000, ["dog"] * 3)]

versions = {"duckdb": duckdb.__version__, "pandas": pandas.__version__, "pyarrow": pyarrow.__version__}
types = {
    "duckdb": duck_types,
    "arrow": arrow_types,
    "pandas": {name: str(kind) for name, kind in pandas.read_parquet(clips).dtypes.items()},
}
output = {"versions": versions, "types": types, "rows": arrow}
(here / "clips.json").write_text(json.dumps(output, indent=2, ensure_ascii=False) + "\n")
print(json.dumps(types, indent=2))
