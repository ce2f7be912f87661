"""Anonymity: held to pycanon, to plain loops, to the examples of the papers, and to its promises.

pycanon counts on rows that are numbered from 0, drops rows with missing values, takes ordered
categories for unordered ones and cuts entropy l-diversity down to a whole number; `plain` and the
tests below allow for that.
"""

from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wasserstein_distance

from privlab import anonymity as an
from privlab.data import load_adult

QUASI_IDENTIFIERS = [
    "age",
    "workclass",
    "education",
    "marital_status",
    "race",
    "sex",
    "native_country",
]


@pytest.fixture(scope="module")
def adult():
    return load_adult().sample(3_000, random_state=0)


def random_table(seed, rows=200):
    """A table with numbers, texts and ordered categories of which some never occur."""
    rng = np.random.default_rng(seed)
    grades = pd.CategoricalDtype(["low", "never", "middle", "high"], ordered=True)
    return pd.DataFrame(
        {
            "age": rng.integers(20, 32, rows),
            "height": rng.normal(170, 10, rows).round(1),
            "town": rng.choice(
                ["Ulm", "Bonn", "Kiel", "Jena", "Hof"], rows, p=[0.5, 0.2, 0.1, 0.1, 0.1]
            ),
            "grade": pd.Categorical(rng.choice(["low", "middle", "high"], rows), dtype=grades),
            "illness": rng.choice(["flu", "asthma", "none", "ulcer"], rows, p=[0.3, 0.1, 0.5, 0.1]),
            "income": rng.choice([10, 20, 35, 80, 200], rows),
        }
    )


def plain(table):
    """The table as pycanon takes it: no categories, rows numbered from 0."""
    texts = table.select_dtypes(exclude="number").columns
    return table.astype(dict.fromkeys(texts, object)).reset_index(drop=True)


def rows_of(table, columns):
    """The rows' positions per class, by a plain loop; all missing values are one value."""
    found = defaultdict(list)
    for position, row in enumerate(table[columns].itertuples(index=False, name=None)):
        found[tuple("missing" if pd.isna(value) else value for value in row)].append(position)
    return found.values()


def same_partition(a, b):
    """Whether two arrays of class numbers put the same rows together."""
    pairs = len(set(zip(a, b, strict=True)))
    return pairs == len(set(a)) == len(set(b))


# ------------------------------------------------------------------------------ the papers


@pytest.fixture
def sweeney():
    """Table T of figure 2 in Sweeney, "k-Anonymity" (2002): k = 2."""
    return pd.DataFrame(
        [
            ("Black", 1965, "m", "0214*", "short breath"),
            ("Black", 1965, "m", "0214*", "chest pain"),
            ("Black", 1965, "f", "0213*", "hypertension"),
            ("Black", 1965, "f", "0213*", "hypertension"),
            ("Black", 1964, "f", "0213*", "obesity"),
            ("Black", 1964, "f", "0213*", "chest pain"),
            ("White", 1964, "m", "0213*", "chest pain"),
            ("White", 1964, "m", "0213*", "obesity"),
            ("White", 1964, "m", "0213*", "short breath"),
            ("White", 1967, "m", "0213*", "chest pain"),
            ("White", 1967, "m", "0213*", "chest pain"),
        ],
        columns=["race", "birth", "gender", "zip", "problem"],
    )


@pytest.fixture
def inpatients():
    """Figure 1 of Machanavajjhala et al., "l-Diversity" (2007)."""
    return pd.DataFrame(
        [
            (13053, 28, "Russian", "Heart Disease"),
            (13068, 29, "American", "Heart Disease"),
            (13068, 21, "Japanese", "Viral Infection"),
            (13053, 23, "American", "Viral Infection"),
            (14853, 50, "Indian", "Cancer"),
            (14853, 55, "Russian", "Heart Disease"),
            (14850, 47, "American", "Viral Infection"),
            (14850, 49, "American", "Viral Infection"),
            (13053, 31, "American", "Cancer"),
            (13053, 37, "Indian", "Cancer"),
            (13068, 36, "Japanese", "Cancer"),
            (13068, 35, "American", "Cancer"),
        ],
        columns=["zip", "age", "nationality", "condition"],
    )


@pytest.fixture
def salaries():
    """Table 3 of Li, Li and Venkatasubramanian, "t-Closeness" (2007); salaries in 1,000."""
    return pd.DataFrame(
        [
            ("47677", 29, 3, "gastric ulcer"),
            ("47602", 22, 4, "gastritis"),
            ("47678", 27, 5, "stomach cancer"),
            ("47905", 43, 6, "gastritis"),
            ("47909", 52, 11, "flu"),
            ("47906", 47, 8, "bronchitis"),
            ("47605", 30, 7, "bronchitis"),
            ("47673", 36, 9, "pneumonia"),
            ("47607", 32, 10, "stomach cancer"),
        ],
        columns=["zip", "age", "salary", "disease"],
    )


def test_sweeney_2002(sweeney):
    quasi_identifiers = ["race", "birth", "gender", "zip"]
    assert an.k_anonymity(sweeney, quasi_identifiers) == 2
    assert an.uniqueness(sweeney, quasi_identifiers) == 0
    assert an.uniqueness(sweeney, [*quasi_identifiers, "problem"]) == 7 / 11
    assert an.l_diversity(sweeney, quasi_identifiers, "problem") == 1
    assert len(an.suppress_small_classes(sweeney, quasi_identifiers, 3)) == 3


def test_machanavajjhala_2007_figure_2(inpatients):
    """4-anonymous, but all four people of the last class have cancer."""
    release = inpatients.assign(
        zip=["130**"] * 4 + ["1485*"] * 4 + ["130**"] * 4,
        age=["<30"] * 4 + [">=40"] * 4 + ["3*"] * 4,
        nationality="*",
    )
    columns = ["zip", "age", "nationality"]
    assert an.k_anonymity(release, columns) == 4
    assert an.l_diversity(release, columns, "condition") == 1
    assert an.l_diversity(release, columns, "condition", kind="entropy") == 1


def test_machanavajjhala_2007_figure_3(inpatients):
    """4-anonymous and 3-diverse."""
    release = inpatients.assign(
        zip=[f"{str(code)[:4]}*" for code in inpatients["zip"]],
        age=np.where(inpatients["age"] > 40, ">40", "<=40"),
        nationality="*",
    )
    columns = ["zip", "age", "nationality"]
    assert an.k_anonymity(release, columns) == 4
    assert an.l_diversity(release, columns, "condition") == 3
    # Every class has the shares 1/2, 1/4, 1/4: H = 1.5 log 2.
    entropy = an.l_diversity(release, columns, "condition", kind="entropy")
    assert entropy == pytest.approx(2**1.5)


def test_mondrian_makes_the_inpatients_diverse(inpatients):
    columns = ["zip", "age", "nationality"]
    classes = an.mondrian(inpatients, columns, 4, sensitive="condition", l=3)
    release = an.generalise(inpatients, columns, classes)
    assert an.k_anonymity(release, columns) == 4
    assert an.l_diversity(release, columns, "condition") == 3


@pytest.mark.parametrize(("of_class", "distance"), [([3, 4, 5], 0.375), ([6, 8, 11], 0.167)])
def test_li_2007_distances_of_salaries(salaries, of_class, distance):
    """Section 5.2: D[{3k, 4k, 5k}, all] = 0.375 and D[{6k, 8k, 11k}, all] = 0.167.

    The class of all other rows is half as far off, as it is twice as large.
    """
    table = salaries.assign(group=salaries["salary"].isin(of_class))
    assert round(an.t_closeness(table, ["group"], "salary"), 3) == distance


def test_li_2007_table_5(salaries):
    """0.167-close in the salary. Equal distances of diseases by hand: 2/9 + 1/9 + 2/9."""
    release = salaries.assign(
        zip=["4767*", "4760*", "4767*", "4790*", "4790*", "4790*", "4760*", "4767*", "4760*"],
        age=["<=40"] * 3 + [">=40"] * 3 + ["<=40"] * 3,
    )
    assert an.k_anonymity(release, ["zip", "age"]) == 3
    assert an.t_closeness(release, ["zip", "age"], "salary") == pytest.approx(1 / 6)
    assert an.t_closeness(release, ["zip", "age"], "disease") == pytest.approx(5 / 9)


# --------------------------------------------------------------------------------- pycanon


def compare_with_pycanon(table, quasi_identifiers, text, number):
    pycanon = pytest.importorskip("pycanon.anonymity")
    theirs = plain(table)
    arguments = table, quasi_identifiers
    assert an.k_anonymity(*arguments) == pycanon.k_anonymity(theirs, quasi_identifiers)
    for sensitive in (text, number):
        assert an.l_diversity(*arguments, sensitive) == pycanon.l_diversity(
            theirs, quasi_identifiers, [sensitive]
        )
        # exp(log 3) may be 2.9999…, which pycanon cuts down to 2.
        entropy = an.l_diversity(*arguments, sensitive, kind="entropy")
        cut = pycanon.entropy_l_diversity(theirs, quasi_identifiers, [sensitive])
        assert int(entropy - 1e-9) <= cut <= int(entropy + 1e-9)
        assert an.t_closeness(*arguments, sensitive) == pytest.approx(
            pycanon.t_closeness(theirs, quasi_identifiers, [sensitive]), abs=1e-9
        )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("columns", [["town", "grade"], ["age", "grade"], ["age", "town", "grade"]])
def test_measures_agree_with_pycanon_on_random_tables(seed, columns):
    compare_with_pycanon(random_table(seed), columns, "illness", "income")


def test_measures_agree_with_pycanon_on_adult(adult):
    compare_with_pycanon(adult, ["education", "sex"], "occupation", "hours_per_week")


@pytest.mark.parametrize("k", [5, 50])
def test_releases_agree_with_pycanon(adult, k):
    table = adult.head(300)
    classes = an.mondrian(table, QUASI_IDENTIFIERS, k)
    release = an.generalise(table, QUASI_IDENTIFIERS, classes)
    compare_with_pycanon(release, QUASI_IDENTIFIERS, "occupation", "hours_per_week")


# ------------------------------------------------------------------------------ plain loops


@pytest.mark.parametrize("seed", range(5))
def test_measures_agree_with_plain_loops(seed):
    table = random_table(seed, rows=60)
    columns = ["age", "town"]
    classes = list(rows_of(table, columns))
    assert an.k_anonymity(table, columns) == min(map(len, classes))
    assert an.uniqueness(table, columns) == sum(len(rows) == 1 for rows in classes) / len(table)

    shares = [table["illness"].iloc[rows].value_counts(normalize=True) for rows in classes]
    assert an.l_diversity(table, columns, "illness") == min(map(len, shares))
    assert an.l_diversity(table, columns, "illness", kind="entropy") == pytest.approx(
        min(np.exp(-(share * np.log(share)).sum()) for share in shares)
    )
    overall = table["illness"].value_counts(normalize=True)
    assert an.t_closeness(table, columns, "illness") == pytest.approx(
        max(share.sub(overall, fill_value=0).abs().sum() / 2 for share in shares)
    )
    for ordered in ("income", "grade"):
        ranks = np.unique(table[ordered].rank(method="dense"), return_inverse=True)[1]
        assert an.t_closeness(table, columns, ordered) == pytest.approx(
            max(wasserstein_distance(ranks[rows], ranks) for rows in classes) / ranks.max()
        )


def test_distances_carry_no_rounding_errors():
    """In floating point 1 - 0.7 is a little more than 0.3; t = 0.3 is met all the same."""
    table = pd.DataFrame({"town": ["Ulm"] * 4 + ["Bonn"] * 6, "ill": list("yyyyyyynnn")})
    assert 1 - 7 / 10 > 0.3
    assert an.t_closeness(table, ["town"], "ill") == 0.3
    constant = table.assign(year=1994)
    assert an.t_closeness(constant, ["town"], "year") == 0
    for sensitive in ("town", "ill"):
        assert an.t_closeness(constant, ["year"], sensitive) == 0


@pytest.mark.parametrize("seed", range(5))
def test_information_loss_agrees_with_plain_loops(seed):
    table = random_table(seed, rows=60)
    classes = np.random.default_rng(seed).integers(0, 12, len(table))
    columns = ["age", "height", "town", "grade"]
    cost = 0
    for number in set(classes):
        members = table[classes == number]
        for column in ("age", "height"):
            cost += np.ptp(members[column]) / np.ptp(table[column]) * len(members)
        for column in ("town", "grade"):
            n_values = members[column].nunique()
            cost += (n_values > 1) * n_values / table[column].nunique() * len(members)
    expected = cost / len(table) / len(columns)
    assert an.information_loss(table, columns, classes) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_generalise_agrees_with_plain_loops(seed):
    table = random_table(seed, rows=60)
    classes = np.random.default_rng(seed).integers(0, 12, len(table))
    release = an.generalise(table, ["age", "town", "grade"], classes)
    for row, number in enumerate(classes):
        members = table[classes == number]
        low, high = members["age"].min(), members["age"].max()
        assert release["age"].iloc[row] == (f"{low}" if low == high else f"{low}–{high}")
        towns = sorted(set(members["town"]))
        assert release["town"].iloc[row] == ("*" if len(towns) == 5 else " | ".join(towns))
        grades = [grade for grade in ("low", "middle", "high") if grade in set(members["grade"])]
        assert release["grade"].iloc[row] == ("*" if len(grades) == 3 else " | ".join(grades))


# -------------------------------------------------------------------------------- classes


def test_classes_are_numbered_in_order_of_appearance():
    table = pd.DataFrame({"a": ["x", "y", "x", "z"], "b": [1, 1, 1, 2]})
    assert an.equivalence_classes(table, ["a", "b"]).tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([1.5, np.nan, 1.5, np.nan, 2.0]),
        pd.Series(["a", None, "a", None, "b"]),
        pd.Series(["a", None, "a", np.nan, "b"], dtype=object),
        pd.Series(["a", None, "a", None, "b"], dtype="category"),
        pd.Series([1, None, 1, None, 2], dtype="Int64"),
        pd.Series([True, None, True, None, False], dtype="boolean"),
        pd.Series(pd.to_datetime(["2020-01-01", None, "2020-01-01", None, "2021-01-01"])),
        pd.Series(pd.cut([1, 99, 1, 99, 4], [0, 2, 4])),
    ],
    ids=["number", "text", "object", "category", "integer", "boolean", "date", "interval"],
)
def test_a_missing_value_is_a_value_of_its_own(values):
    table = pd.DataFrame({"known": values, "other": "same"})
    for columns in (["known"], ["other", "known"]):
        assert an.equivalence_classes(table, columns).tolist() == [0, 1, 0, 1, 2]
        assert an.k_anonymity(table, columns) == 1
        assert an.uniqueness(table, columns) == 0.2
    assert an.l_diversity(table, ["other"], "known") == 3


def test_groupby_would_have_hidden_the_unique_person():
    table = pd.DataFrame({"town": ["Ulm", "Ulm", None]})
    assert table.groupby("town").size().min() == 2
    assert an.k_anonymity(table, ["town"]) == 1


def test_unused_categories_and_many_columns_cost_nothing():
    letters = pd.CategoricalDtype([f"{number}" for number in range(1000)])
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {f"c{i}": pd.Categorical(rng.choice(["1", "2"], 50), dtype=letters) for i in range(12)}
    )
    classes = an.equivalence_classes(table, list(table))
    assert same_partition(classes, [str(row) for row in table.to_numpy().tolist()])
    halves = np.arange(50) % 2
    assert set(an.generalise(table, ["c0"], halves)["c0"]) == {"*"}
    assert an.information_loss(table, ["c0"], halves) == 1


# -------------------------------------------------------------------------------- mondrian


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [1, 2, 7, 60, 200])
def test_every_class_has_k_rows(seed, k):
    table = random_table(seed)
    columns = ["age", "height", "town", "grade"]
    classes = an.mondrian(table, columns, k)
    assert np.bincount(classes).min() >= k
    assert an.k_anonymity(an.generalise(table, columns, classes), columns) >= k


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("sensitive", "l", "t"),
    [
        ("illness", 3, 1.0),
        ("illness", 1, 0.2),
        ("illness", 2, 0.3),
        ("income", 4, 0.15),
        ("grade", 1, 0.1),
        ("grade", 1, 0),
    ],
)
def test_every_class_is_diverse_and_close(seed, sensitive, l, t):
    table = random_table(seed)
    columns = ["age", "height", "town"]
    classes = an.mondrian(table, columns, 5, sensitive=sensitive, l=l, t=t)
    release = an.generalise(table, columns, classes)
    for anonymous in (release, table.assign(age=classes)):
        quasi_identifiers = columns if anonymous is release else ["age"]
        assert an.k_anonymity(anonymous, quasi_identifiers) >= 5
        assert an.l_diversity(anonymous, quasi_identifiers, sensitive) >= l
        assert an.t_closeness(anonymous, quasi_identifiers, sensitive) <= t
    if t > 0:
        assert classes.max() > 0


@pytest.mark.parametrize("seed", range(4))
def test_no_class_can_be_cut_again(seed):
    """Along no column does a cut leave k rows on both sides."""
    k = 6
    table = random_table(seed)
    classes = an.mondrian(table, ["age", "town", "grade"], k)
    for number in set(classes):
        members = table[classes == number]
        for column in ("age", "town", "grade"):
            counts = members[column].value_counts()
            counts = counts[counts > 0]
            if column != "town":
                counts = counts.sort_index()
            left = counts.cumsum()
            assert not ((left >= k) & (len(members) - left >= k)).any()


@pytest.mark.parametrize("demand", [{}, {"sensitive": "illness", "l": 3}])
def test_equal_rows_stay_together_in_whatever_order_they_come(demand):
    table = random_table(0, rows=500)
    columns = ["age", "town"]
    classes = an.mondrian(table, columns, 5, **demand)
    assert (table.assign(c=classes).groupby(columns)["c"].nunique() == 1).all()
    assert np.array_equal(classes, an.mondrian(table, columns, 5, **demand))
    order = np.random.default_rng(1).permutation(len(table))
    assert same_partition(classes[order], an.mondrian(table.iloc[order], columns, 5, **demand))
    assert classes[0] == 0
    assert set(classes) == set(range(classes.max() + 1))


def test_a_weight_of_ten_is_ten_rows():
    """A table repeated ten times at 10 k falls into the same classes."""
    table = random_table(0)
    columns = ["age", "height", "town", "grade"]
    once = an.mondrian(table, columns, 4)
    tenfold = an.mondrian(pd.concat([table] * 10), columns, 40)
    assert np.array_equal(np.tile(once, 10), tenfold)


def test_a_column_is_cut_at_its_gap_where_k_rows_allow_it():
    table = pd.DataFrame({"age": [20, 21, 22, 23, 60, 61, 62, 63, 64, 65]})
    classes = an.mondrian(table, ["age"], 4)
    assert np.array_equal(classes, np.repeat([0, 1], [4, 6]))
    # The gap in front of a few outliers is no reason not to cut elsewhere.
    table = pd.DataFrame({"age": [20] * 5 + [21] * 5 + [90] * 2})
    assert np.array_equal(an.mondrian(table, ["age"], 5), np.repeat([0, 1], [5, 7]))


def test_a_common_value_is_parted_from_the_rare_ones():
    table = pd.DataFrame({"country": ["Peru", "Chad", *["France"] * 4, "Cuba", "Laos"]})
    release = an.generalise(table, ["country"], an.mondrian(table, ["country"], 4))
    assert Counter(release["country"]) == {"France": 4, "Chad | Cuba | Laos | Peru": 4}


def test_the_cut_that_helps_the_other_columns_too_is_chosen():
    """A cut by age makes age narrow; one by town makes town single and age as narrow."""
    table = pd.DataFrame(
        {
            "shoe": [36, 37, 38, 44, 45, 46],
            "town": ["Ulm", "Ulm", "Ulm", "Bonn", "Bonn", "Bonn"],
            "pet": ["cat", "dog", "cat", "dog", "cat", "dog"],
        }
    )
    for columns in (["shoe", "town", "pet"], ["pet", "town", "shoe"]):
        assert np.array_equal(an.mondrian(table, columns, 3), np.repeat([0, 1], 3))


def loss_of_halves(table, column, bound):
    """What the two halves lose in one column, or in all, after a cut behind a value."""
    right = (table[column] > bound).to_numpy().astype(int)
    return [an.information_loss(table, part, right) for part in ([column], list(table))]


@pytest.mark.parametrize("seed", range(20))
def test_the_cut_is_the_promised_one(seed):
    """Of 11 rows with k = 4 one cut is made, so that all of them can be tried."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.exponential(size=(11, 3)), columns=list("abc"))
    promised = []
    for column in table:
        bounds = np.sort(table[column])[3:7]
        _, bound = min((loss_of_halves(table, column, bound)[0], bound) for bound in bounds)
        promised.append(loss_of_halves(table, column, bound)[1])
    classes = an.mondrian(table, list(table), 4)
    assert an.information_loss(table, list(table), classes) == pytest.approx(min(promised))


def textbook_mondrian(codes, k):
    """LeFevre et al. (2006): cut the widest column at its median, by plain recursion."""
    domain = np.ptp(codes, axis=0)

    def cut(rows):
        for column in np.argsort(-np.ptp(codes[rows], axis=0) / domain, kind="stable"):
            values = codes[rows, column]
            right = values > np.median(values)
            if min(right.sum(), (~right).sum()) >= k:
                return cut(rows[~right]) + cut(rows[right])
        return [rows]

    classes = np.empty(len(codes), dtype=int)
    for number, rows in enumerate(cut(np.arange(len(codes)))):
        classes[rows] = number
    return classes


@pytest.mark.parametrize("k", [5, 20])
def test_loses_less_than_half_of_the_textbook(adult, k):
    codes = np.column_stack(
        [pd.factorize(adult[column], sort=True)[0] for column in QUASI_IDENTIFIERS]
    )
    textbook = an.information_loss(adult, QUASI_IDENTIFIERS, textbook_mondrian(codes, k))
    ours = an.information_loss(adult, QUASI_IDENTIFIERS, an.mondrian(adult, QUASI_IDENTIFIERS, k))
    assert ours < textbook / 2


def test_missing_texts_are_a_value_of_their_own_in_a_partition():
    table = pd.DataFrame({"town": ["Ulm"] * 4 + [None] * 4 + ["Bonn"] * 4})
    classes = an.mondrian(table, ["town"], 4)
    assert np.array_equal(classes, np.repeat([0, 1, 2], 4))
    assert an.generalise(table, ["town"], classes)["town"].tolist() == (
        ["Ulm"] * 4 + ["NaN"] * 4 + ["Bonn"] * 4
    )
    pairs = np.repeat([0, 1, 1], 4)
    assert an.generalise(table, ["town"], pairs)["town"].iloc[-1] == "Bonn | NaN"


def test_dates_are_cut_in_their_order():
    days = pd.to_datetime(["1990-01-01", "1990-01-05", "1999-12-30", "1999-12-31"])
    table = pd.DataFrame({"born": days})
    classes = an.mondrian(table, ["born"], 2)
    assert an.generalise(table, ["born"], classes)["born"].tolist() == (
        ["1990-01-01–1990-01-05"] * 2 + ["1999-12-30–1999-12-31"] * 2
    )
    assert an.information_loss(table, ["born"], classes) == pytest.approx(2.5 / 3651)


def test_ordered_categories_are_cut_in_their_order():
    """By frequency, S and L would stand first, and no cut would leave four on both sides."""
    sizes = pd.CategoricalDtype(["S", "M", "L", "XL"], ordered=True)
    table = pd.DataFrame({"size": pd.Categorical(["S", "L"] * 3 + ["XL", "M"], dtype=sizes)})
    release = an.generalise(table, ["size"], an.mondrian(table, ["size"], 4))
    assert set(release["size"]) == {"S | M", "L | XL"}


# ------------------------------------------------------------------- releases and their cost


def test_a_release_keeps_index_order_and_other_columns():
    table = random_table(0, rows=40)
    table.index = np.arange(40) // 2  # every label twice
    before = table.copy()
    classes = an.mondrian(table, ["age", "town"], 5)
    release = an.generalise(table, ["age", "town"], classes)
    assert release.index.equals(table.index)
    assert list(release) == list(table)
    pd.testing.assert_frame_equal(table, before)
    others = ["height", "grade", "illness", "income"]
    pd.testing.assert_frame_equal(release[others], table[others])
    for row, number in enumerate(classes):
        ages = table["age"].to_numpy()[classes == number]
        low, *high = release["age"].iloc[row].split("–")
        assert (int(low), int(high[0] if high else low)) == (ages.min(), ages.max())


def test_suppression_keeps_index_and_order():
    table = pd.DataFrame({"town": ["Ulm", "Bonn", "Ulm", None, None]}, index=[7, 7, 3, 1, 1])
    left = an.suppress_small_classes(table, ["town"], 2)
    assert left.index.tolist() == [7, 3, 1, 1]
    assert an.k_anonymity(left, ["town"]) == 2
    assert an.suppress_small_classes(table, ["town"], 3).empty
    pd.testing.assert_frame_equal(an.suppress_small_classes(table, ["town"], 1), table)


def test_numbers_are_written_without_needless_digits():
    table = pd.DataFrame(
        {"whole": [1.0, 3.0, 1e7], "part": [0.1, 0.25, 2.5], "signed": [-5, -1, 0]}
    )
    release = an.generalise(table, list(table), np.array([0, 0, 1]))
    assert release.iloc[0].tolist() == ["1–3", "0.1–0.25", "-5–-1"]
    assert release.iloc[2].tolist() == ["10000000", "2.5", "0"]


def test_information_loss_of_the_extremes(adult):
    everyone_alone, all_in_one = np.arange(len(adult)), np.zeros(len(adult), dtype=int)
    assert an.information_loss(adult, QUASI_IDENTIFIERS, everyone_alone) == 0
    assert an.information_loss(adult, QUASI_IDENTIFIERS, all_in_one) == pytest.approx(1)
    constant = adult.assign(planet="Earth", year=1994)
    assert an.information_loss(constant, ["planet", "year"], all_in_one) == 0
    release = an.generalise(constant, ["planet", "year"], all_in_one)
    assert release.iloc[0][["planet", "year"]].tolist() == ["Earth", "1994"]


def test_information_loss_of_a_release(adult):
    classes = an.mondrian(adult, QUASI_IDENTIFIERS, 10)
    release = an.generalise(adult, QUASI_IDENTIFIERS, classes)
    assert an.information_loss(
        adult, QUASI_IDENTIFIERS, an.equivalence_classes(release, QUASI_IDENTIFIERS)
    ) == pytest.approx(an.information_loss(adult, QUASI_IDENTIFIERS, classes))


def test_classes_of_the_same_text_become_one():
    table = pd.DataFrame({"town": ["Ulm", "Bonn", "Ulm", "Bonn"]})
    release = an.generalise(table, ["town"], np.array([0, 0, 1, 1]))
    assert Counter(release["town"]) == {"*": 4}


# ------------------------------------------------------------------------------- bad input

TABLE = pd.DataFrame(
    {
        "age": [20, 30, 40, 50],
        "town": ["Ulm", "Ulm", "Bonn", "Bonn"],
        "weight": [60.0, np.nan, 80.0, np.inf],
        "illness": ["flu", "none", "flu", "none"],
    }
)


#: Each public function, called with a table and columns only.
CALLS = {
    "equivalence_classes": an.equivalence_classes,
    "k_anonymity": an.k_anonymity,
    "uniqueness": an.uniqueness,
    "l_diversity": lambda table, columns: an.l_diversity(table, columns, "illness"),
    "t_closeness": lambda table, columns: an.t_closeness(table, columns, "illness"),
    "mondrian": lambda table, columns: an.mondrian(table, columns, 2),
    "generalise": lambda table, columns: an.generalise(table, columns, [0] * len(table)),
    "information_loss": lambda table, columns: an.information_loss(
        table, columns, [0] * len(table)
    ),
    "suppress_small_classes": lambda table, columns: an.suppress_small_classes(table, columns, 2),
}


@pytest.mark.parametrize("measure", CALLS.values(), ids=CALLS)
def test_bad_columns_are_named(measure):
    with pytest.raises(ValueError, match=r"no column 'aeg'; choose from \['age', 'town', "):
        measure(TABLE, ["aeg"])
    with pytest.raises(ValueError, match="is empty; name at least one column"):
        measure(TABLE, [])
    with pytest.raises(ValueError, match=r"is the text 'age'; write a list: \['age'\]"):
        measure(TABLE, "age")
    with pytest.raises(ValueError, match="names 'age' twice"):
        measure(TABLE, ["age", "town", "age"])
    with pytest.raises(ValueError, match=r"table is empty \(shape \(0, 4\)\)"):
        measure(TABLE.head(0), ["age"])
    with pytest.raises(ValueError, match="table is a dict; it must be a pandas DataFrame"):
        measure(TABLE.to_dict(), ["age"])
    with pytest.raises(ValueError, match="2 columns 'age'; rename"):
        measure(TABLE.rename(columns={"town": "age"}), ["age"])


@pytest.mark.parametrize("measure", [an.l_diversity, an.t_closeness])
def test_bad_sensitive_columns_are_named(measure):
    with pytest.raises(ValueError, match="sensitive: there is no column 'ill'"):
        measure(TABLE, ["age"], "ill")
    with pytest.raises(ValueError, match="sensitive is 'age', which is among"):
        measure(TABLE, ["age"], "age")


def test_bad_kind_of_diversity():
    with pytest.raises(ValueError, match="kind is 'recursive'; choose 'distinct' or 'entropy'"):
        an.l_diversity(TABLE, ["age"], "illness", kind="recursive")


@pytest.mark.parametrize("k", [0, -1, 5, 2.0, True, "2", None, np.nan])
@pytest.mark.parametrize("reach", [an.mondrian, an.suppress_small_classes])
def test_bad_k(reach, k):
    with pytest.raises(ValueError, match=r"k is .*; it must be a whole number from 1 to 4"):
        reach(TABLE, ["age"], k)


def test_k_may_come_from_numpy():
    assert an.mondrian(TABLE, ["age"], np.int64(2)).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("demand", "message"),
    [
        ({"l": 2}, "l = 2 and t = 1.0 ask for protection of a sensitive column"),
        ({"t": 0.5}, "l = 1 and t = 0.5 ask for protection of a sensitive column"),
        ({"sensitive": "illness", "l": 0}, "l is 0; it must be a whole number from 1 to 2, the"),
        ({"sensitive": "illness", "l": 3}, "number of different values in 'illness'"),
        ({"sensitive": "illness", "l": 1.5}, "l is 1.5; it must be a whole number"),
        ({"sensitive": "illness", "t": -0.1}, "t is -0.1; it must be a number from 0"),
        ({"sensitive": "illness", "t": 1.1}, "t is 1.1; it must be a number from 0"),
        ({"sensitive": "illness", "t": np.nan}, "t is nan; it must be a number from 0"),
        ({"sensitive": "illness", "t": "0.2"}, "t is '0.2'; it must be a number from 0"),
        ({"sensitive": "ill", "l": 2}, "sensitive: there is no column 'ill'"),
        ({"sensitive": "age", "l": 2}, "sensitive is 'age', which is among"),
        ({"sensitive": "weight", "t": 0.5}, "column 'weight' has missing or infinite numbers"),
    ],
)
def test_bad_demands_of_mondrian(demand, message):
    with pytest.raises(ValueError, match=message):
        an.mondrian(TABLE, ["age"], 2, **demand)


@pytest.mark.parametrize("name", ["mondrian", "generalise", "information_loss"])
@pytest.mark.parametrize("rows", [[0, 1], [0, 3]], ids=["missing", "infinite"])
def test_numbers_without_a_place_in_a_range(name, rows):
    with pytest.raises(ValueError, match="column 'weight' has missing or infinite numbers"):
        CALLS[name](TABLE.iloc[rows], ["age", "weight"])
    with pytest.raises(ValueError, match="column 'weight' has missing or infinite numbers"):
        an.t_closeness(TABLE.iloc[rows], ["age"], "weight")


@pytest.mark.parametrize(
    "classes",
    [np.zeros(3, int), np.zeros((4, 1), int), np.zeros(4), np.zeros(4, bool), 0, "abcd"],
    ids=["short", "matrix", "floats", "booleans", "number", "text"],
)
@pytest.mark.parametrize("reach", [an.generalise, an.information_loss])
def test_bad_classes(reach, classes):
    with pytest.raises(ValueError, match="must be one integer for each of the table's 4 rows"):
        reach(TABLE, ["age"], classes)


def test_classes_may_be_any_integers():
    release = an.generalise(TABLE, ["age"], [7, -3, 7, -3])
    assert release["age"].tolist() == ["20–40", "30–50"] * 2
