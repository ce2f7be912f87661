"""Makes a table k-anonymous with anjana or anonypy; runs in the venv of these two."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from serve import serve

SELF_EMPLOYED = {"Self-emp-inc": "self", "Self-emp-not-inc": "self", "Private": "private"}


@cache
def read(path: str) -> pd.DataFrame:
    return pd.read_csv(path)


def bands(values: pd.Series, width: int) -> np.ndarray:
    low = values // width * width
    return (low.astype(str) + "-" + (low + width - 1).astype(str)).to_numpy(dtype=object)


def hierarchies(table: pd.DataFrame) -> dict[str, dict[int, np.ndarray]]:
    """Each column's levels, from as it is to one value for all."""
    stars = np.full(len(table), "*", dtype=object)
    age, school = table["age"], table["education_num"]
    work = table["workclass"].map(lambda text: SELF_EMPLOYED.get(text, "public or none"))
    married = table["marital_status"].str.startswith("Married").map({True: "yes", False: "no"})
    levels = {
        "age": [age.to_numpy(), bands(age, 5), bands(age, 10), bands(age, 20), stars],
        "education_num": [school.to_numpy(), bands(school, 2), bands(school, 4), stars],
        "workclass": [table["workclass"].to_numpy(), work.to_numpy(), stars],
        "marital_status": [table["marital_status"].to_numpy(), married.to_numpy(), stars],
        "race": [table["race"].to_numpy(), stars],
        "sex": [table["sex"].to_numpy(), stars],
    }
    return {column: dict(enumerate(values)) for column, values in levels.items()}


def by_anjana(table: pd.DataFrame, columns: list[str], k: int, suppress: int) -> np.ndarray:
    from anjana.anonymity import k_anonymity

    table["row"] = np.arange(len(table))
    release = k_anonymity(table, [], columns, k, suppress, hierarchies(table))
    classes = np.full(len(table), -1)
    classes[release["row"].to_numpy()] = release.groupby(columns).ngroup().to_numpy()
    return classes


def by_anonypy(table: pd.DataFrame, columns: list[str], k: int) -> np.ndarray:
    from anonypy.anonypy import Preserver, anonymize

    for column in columns:
        if not pd.api.types.is_numeric_dtype(table[column]):
            table[column] = table[column].astype("category")
    parts = Preserver(table, columns, "income").modrian.partition(k, 0, 0.0)
    anonymize(table, parts, columns, "income")
    classes = np.full(len(table), -1)
    for number, part in enumerate(parts):
        classes[part] = number
    return classes


def answer(way: str, table: str, rows: int, k: int, columns: list[str], suppress: int) -> dict:
    some = read(table).head(rows)[[*columns, "income"]].copy()
    if way == "anjana":
        return {"classes": by_anjana(some, columns, k, suppress).tolist()}
    return {"classes": by_anonypy(some, columns, k).tolist()}


serve(answer)
