"""Invented people: real ZIP sizes, a real age pyramid, names from Faker, all from one seed.

Nobody here exists. What is real is how many people share a ZIP code, a sex and an age, and that is
what re-identification depends on.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from .data import load_age_pyramid

#: The day on which ages are counted: the day of the 2010 census, which the ZIP sizes come from.
CENSUS_DAY = np.datetime64("2010-04-01", "D")

#: Diagnosis, its weights at age 0, 40 and 80 for women, the same for men. The weights are invented;
#: that diagnoses depend on age and sex is not.
_DIAGNOSES = (
    ("asthma", (30, 12, 4), (34, 9, 3)),
    ("broken bone", (30, 14, 22), (34, 18, 10)),
    ("pregnancy", (0, 22, 0), (0, 0, 0)),
    ("depression", (4, 18, 8), (3, 12, 6)),
    ("diabetes", (4, 10, 18), (4, 12, 20)),
    ("hypertension", (0, 12, 26), (0, 16, 26)),
    ("heart attack", (0, 2, 12), (0, 6, 20)),
    ("cancer", (3, 8, 12), (3, 6, 16)),
    ("HIV", (0, 2, 0.5), (0, 4, 1)),
)


def _names(rng: np.random.Generator, sexes: np.ndarray) -> np.ndarray:
    """Draw a full name for each person.

    Faker makes a pool of a few thousand names, with the frequencies it knows, and NumPy draws from
    the pool: calling Faker once a person takes 40 s for 100,000 people, this half a second.
    """
    from faker import Faker

    fake = Faker("en_US")
    fake.seed_instance(int(rng.integers(2**32)))
    last = np.array([fake.last_name() for _ in range(3000)], dtype=object)
    first = {
        "Female": np.array([fake.first_name_female() for _ in range(1500)], dtype=object),
        "Male": np.array([fake.first_name_male() for _ in range(1500)], dtype=object),
    }
    names = rng.choice(last, len(sexes))
    for sex, pool in first.items():
        chosen = sexes == sex
        names[chosen] = rng.choice(pool, chosen.sum()) + " " + names[chosen]
    return names


def make_town(zip_sizes: Mapping[str, int], rng: np.random.Generator) -> pd.DataFrame:
    """Invent the inhabitants of some ZIP codes.

    Ages and sexes follow the age pyramid of the United States (Census 2000); within a five-year
    age group every birth date is equally likely, and those of 90 and over are 90 to 99.

    Args:
        zip_sizes: People per ZIP code, e.g. ``{"02138": 36314}``.
        rng: The source of randomness; the same generator state gives the same town.

    Returns:
        One row a person: ``name``, ``sex`` (``"Female"`` or ``"Male"``), ``birth_date``
        (datetime), ``zip`` (text). The rows are shuffled and the index is 0, 1, 2, …

    Raises:
        ValueError: ``zip_sizes`` is empty or holds a size that is not a positive whole number.
    """
    if not len(zip_sizes):
        raise ValueError("zip_sizes is empty: give at least one ZIP code and its number of people")
    for code, size in zip_sizes.items():
        if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
            raise ValueError(f"zip_sizes[{code!r}] must be a whole number above 0, got {size!r}")
    zips = np.repeat(list(zip_sizes), list(zip_sizes.values()))
    rng.shuffle(zips)

    pyramid = load_age_pyramid()
    weights = (pyramid["people"] / pyramid["people"].sum()).to_numpy()
    group = rng.choice(len(pyramid), len(zips), p=weights)
    sexes = pyramid["sex"].to_numpy(dtype=object)[group]
    first_age = pyramid["age_from"].to_numpy()[group]
    years = np.where(first_age == 90, 10, 5)
    days_old = (first_age + years * rng.random(len(zips))) * 365.2425
    birth_dates = CENSUS_DAY - days_old.astype(int).astype("timedelta64[D]")
    return pd.DataFrame(
        {
            "name": _names(rng, sexes),
            "sex": sexes,
            "birth_date": birth_dates.astype("datetime64[s]"),
            "zip": zips.astype(object),
        }
    )


def ages(birth_dates: pd.Series) -> pd.Series:
    """Return completed years of age on the census day (2010-04-01), as integers."""
    day = pd.Timestamp(CENSUS_DAY)
    had_birthday = (birth_dates.dt.month < day.month) | (
        (birth_dates.dt.month == day.month) & (birth_dates.dt.day <= day.day)
    )
    return (day.year - birth_dates.dt.year - (~had_birthday).astype(int)).astype(int)


def voter_list(town: pd.DataFrame, rng: np.random.Generator, share: float = 0.7) -> pd.DataFrame:
    """Draw a public voter list: a share of the adults (18 and over), with their names.

    Returns:
        ``person`` (the row of ``town``), ``name``, ``sex``, ``birth_date``, ``zip``; shuffled.

    Raises:
        ValueError: ``share`` is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share!r}")
    adults = np.flatnonzero(ages(town["birth_date"]) >= 18)
    chosen = rng.choice(adults, round(share * len(adults)), replace=False)
    return town.iloc[chosen].rename_axis("person").reset_index()


def hospital_table(town: pd.DataFrame, patients: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw a hospital's table: some inhabitants, each with a diagnosis that fits age and sex.

    The diagnoses and their weights are invented.

    Returns:
        ``person`` (the row of ``town``), ``name``, ``sex``, ``birth_date``, ``zip``,
        ``diagnosis``; shuffled.

    Raises:
        ValueError: ``patients`` is below 1 or above the number of inhabitants.
    """
    if not 1 <= patients <= len(town):
        raise ValueError(f"patients must be between 1 and {len(town)}, got {patients!r}")
    chosen = rng.choice(len(town), patients, replace=False)
    table = town.iloc[chosen].rename_axis("person").reset_index()
    age = ages(table["birth_date"]).to_numpy()
    female = (table["sex"] == "Female").to_numpy()
    weights = np.empty((patients, len(_DIAGNOSES)))
    for column, (_, women, men) in enumerate(_DIAGNOSES):
        weights[:, column] = np.where(
            female, np.interp(age, (0, 40, 80), women), np.interp(age, (0, 40, 80), men)
        )
    # No pregnancy outside the years in which it happens.
    weights[(age < 16) | (age > 48), 2] = 0
    cumulative = np.cumsum(weights, axis=1)
    draw = rng.random(patients) * cumulative[:, -1]
    names = np.array([name for name, *_ in _DIAGNOSES], dtype=object)
    table["diagnosis"] = names[(draw[:, None] > cumulative).sum(axis=1)]
    return table
