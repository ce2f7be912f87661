"""The real data of the course: one function a data set, typed, cached, checksum verified.

Sources, licences, citations, columns and units stand in ``data/README.md``.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

#: SHA-256 of each file, as in ``data/README.md``.
CHECKSUMS = {
    "adult.csv.gz": "607e43ac408fd34ae4d4c8a3ab75afa7acd99fd46d242f5fe63abfc96f96e7ef",
    "fashion_mnist_12k.npz": "a27f57de2dd260c93ad0bdb0a278844563b127988dd268d7f19a7c15064f33ef",
    "heart_disease_4_hospitals.csv": (
        "6a983014ac0b9c5d0f90659ee3368491d5649d6246f7e0b3b47f0835ff9a022b"
    ),
    "shakespeare_roles.csv.gz": "d2ba8fb8ec87c112aca8e237799a3c63a05fb07e4311c19e797af2f46f4f58dc",
    "us_population_2000_age_sex.csv": (
        "c126ec92c790a6eedb985a4965ad3c72b28e351d2ec0137b014de5f946ae1155"
    ),
    "us_zip_population_2010.csv.gz": (
        "cf99ee9dea96243df2c142d177fd62d39f0d5814239ed973472435cd0387607a"
    ),
}


class DataProblem(RuntimeError):
    """A data file is missing or is not the file the course was made with."""


def data_dir() -> Path:
    """Return the folder of the data files: ``data/`` of a checkout, or the copy in the wheel."""
    package = Path(__file__).parent
    bundled = package / "_data"
    return bundled if bundled.is_dir() else package.parent / "data"


@cache
def _verified(name: str) -> Path:
    """Return the path of a data file once its checksum is right; checked once a process."""
    path = data_dir() / name
    repair = "Restore it with `git checkout -- data` or install privlab again."
    if not path.is_file():
        raise DataProblem(f"The data file {name} is missing. {repair}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != CHECKSUMS[name]:
        raise DataProblem(
            f"The data file {name} is damaged or changed: its SHA-256 starts with {found[:12]}, "
            f"it should start with {CHECKSUMS[name][:12]}. {repair}"
        )
    return path


def verify_all() -> dict[str, str | None]:
    """Check every data file; the value is ``None`` where it is fine, else what is wrong."""
    report: dict[str, str | None] = {}
    for name in CHECKSUMS:
        try:
            _verified(name)
            report[name] = None
        except DataProblem as problem:
            report[name] = str(problem)
    return report


@cache
def _adult() -> pd.DataFrame:
    return pd.read_csv(_verified("adult.csv.gz"))


def load_adult() -> pd.DataFrame:
    """Load Adult (US census income, 1994): one row a person.

    Returns:
        45,222 rows × 15 columns. Integers: ``age`` (years), ``fnlwgt``, ``education_num``,
        ``capital_gain``, ``capital_loss`` (US dollars), ``hours_per_week``; all others are text.
        ``income`` is ``">50K"`` or ``"<=50K"``. No value is missing.
    """
    return _adult().copy()


@cache
def _hospitals() -> pd.DataFrame:
    table = pd.read_csv(_verified("heart_disease_4_hospitals.csv"))
    for column in ("fbs", "exang"):
        table[column] = table[column].map({True: True, False: False, "True": True, "False": False})
        table[column] = table[column].astype("boolean")
    # A cholesterol or blood pressure of 0 means "not measured" in the files of UCI.
    for column in ("chol", "trestbps"):
        table[column] = table[column].where(table[column] != 0)
    table["ill"] = table["num"] > 0
    return table


def load_hospitals() -> pd.DataFrame:
    """Load the heart disease tables of four hospitals: one row a patient.

    Returns:
        920 rows × 17 columns: ``id``, ``age`` (years), ``sex``, ``hospital`` (Cleveland 303,
        Hungary 294, VA Long Beach 200, Switzerland 123), the clinical columns of UCI (``cp``,
        ``trestbps`` in mm Hg, ``chol`` in mg/dl, ``fbs``, ``restecg``, ``thalach`` in beats a
        minute, ``exang``, ``oldpeak``, ``slope``, ``ca``, ``thal``), ``num`` (0 healthy, 1 to 4
        ill) and ``ill`` (``num > 0``). Missing values are missing: the zeros that stand for
        "not measured" in ``chol`` and ``trestbps`` are turned into NaN.
    """
    return _hospitals().copy()


@cache
def _zip_populations() -> pd.DataFrame:
    table = pd.read_csv(_verified("us_zip_population_2010.csv.gz"), dtype={"zcta5": str})
    return table.rename(columns={"zcta5": "zip"})


def load_zip_populations() -> pd.DataFrame:
    """Load the number of people per ZIP code area (US Census 2010).

    Returns:
        32,976 rows: ``zip`` (five digits, text; Puerto Rico starts with 006, 007 or 009) and
        ``population``.
    """
    return _zip_populations().copy()


@cache
def _age_pyramid() -> pd.DataFrame:
    table = pd.read_csv(_verified("us_population_2000_age_sex.csv"))
    return pd.DataFrame(
        {
            "age_from": table["age"],
            "sex": table["sex"].map({1: "Male", 2: "Female"}),
            "people": table["people"],
        }
    )


def load_age_pyramid() -> pd.DataFrame:
    """Load the people of the United States by age group and sex (US Census 2000).

    Returns:
        38 rows: ``age_from`` (first year of a five-year age group; 90 is 90 and over), ``sex``
        (``"Male"`` or ``"Female"``) and ``people``.
    """
    return _age_pyramid().copy()


@dataclass(frozen=True)
class Fashion:
    """Fashion-MNIST, reduced to 12,000 images.

    Attributes:
        X_train: Images, ``uint8`` of shape (10000, 28, 28), 0 (black) to 255.
        y_train: Classes 0 to 9, ``uint8`` of shape (10000,).
        X_test: Images, ``uint8`` of shape (2000, 28, 28).
        y_test: Classes, ``uint8`` of shape (2000,).
        names: What the ten classes are.
    """

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    names: tuple[str, ...] = (
        "T-shirt", "trouser", "pullover", "dress", "coat",
        "sandal", "shirt", "sneaker", "bag", "ankle boot",
    )  # fmt: skip


@cache
def _fashion() -> dict[str, np.ndarray]:
    with np.load(_verified("fashion_mnist_12k.npz")) as archive:
        return {name: archive[name] for name in archive.files}


def load_fashion() -> Fashion:
    """Load 10,000 training and 2,000 test images of Fashion-MNIST."""
    arrays = _fashion()
    return Fashion(*(arrays[name].copy() for name in ("X", "y", "Xt", "yt")))


@cache
def _speeches() -> pd.DataFrame:
    return pd.read_csv(_verified("shakespeare_roles.csv.gz"))


def load_speeches() -> pd.DataFrame:
    """Load the speeches of Shakespeare's plays: 31,354 rows with ``play``, ``role``, ``text``."""
    return _speeches().copy()
