"""k-anonymity: Adult, against anjana and anonypy.

Six quasi-identifiers of Adult (age, years of education, work class, marital status, race, sex) are
made k-anonymous. ``privlab.anonymity`` (Mondrian with all classes cut at once, lesson 02) and
anonypy 0.2.1 (Mondrian, LeFevre et al. 2006, one class after the other) cut freely; anjana 1.2.3
generalises whole columns along hierarchies, and may suppress one row in ten here.

The loss is the normalised certainty penalty (Xu et al. 2006); a suppressed row counts as lost. The
accuracy is that of a decision tree which learns income from the release, a number being the middle
of its range and a text 1, 0 or ½ (everybody, nobody or some in the class), and is tested on 15,222
other people as they are. Ranges are those of the rows in a class: for anjana they are narrower than
the hierarchy's, which flatters it a little.

Not measured: ℓ-diversity and t-closeness (anjana has them, and so has privlab), other hierarchies
(anjana's loss depends on them), tables of other shapes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import bench
import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeClassifier

from privlab.anonymity import equivalence_classes, generalise, information_loss, mondrian
from privlab.data import load_adult

COLUMNS = ["age", "education_num", "workclass", "marital_status", "race", "sex"]
SUPPRESS = 10  # percent of the rows, for anjana
BASE, ANJANA, ANONYPY = "privlab", "anjana", "anonypy"
TEST = 15_222


def by_privlab(people: pd.DataFrame, k: int, rows: int) -> np.ndarray:
    """Return the classes; the release is made, too, as the peers make one."""
    table = people.head(rows)
    classes = mondrian(table, COLUMNS, k)
    generalise(table, COLUMNS, classes)
    return classes


def by_peer(peer: bench.Peer, way: str, csv: Path, k: int, rows: int) -> np.ndarray:
    """Return the classes; -1 for a suppressed row."""
    answer = peer.ask(way=way, table=str(csv), rows=rows, k=k, columns=COLUMNS, suppress=SUPPRESS)
    return np.array(answer["classes"])


def judge(people: pd.DataFrame, test: pd.DataFrame, classes: np.ndarray, k: int) -> list[str]:
    """Return loss, suppressed rows and accuracy as texts; checks that k holds."""
    kept = classes >= 0
    table, groups = people.head(len(classes))[kept], pd.factorize(classes[kept])[0]
    assert np.bincount(groups).min() >= k
    loss = information_loss(table, COLUMNS, groups) * kept.mean() + (1 - kept.mean())
    both = pd.get_dummies(pd.concat([table, test])[COLUMNS]).astype(float)
    exact, exact_test = both.iloc[: len(table)], both.iloc[len(table) :]
    by_class = exact.groupby(groups)
    seen = (by_class.transform("min") + by_class.transform("max")) / 2
    model = DecisionTreeClassifier(min_samples_leaf=50, random_state=0).fit(seen, table["income"])
    return [
        f"{loss:.3f}",
        f"{1 - kept.mean():.1%}",
        f"{model.score(exact_test, test['income']):.1%}",
    ]


def main() -> int:
    """Measure and print."""
    started, options = time.perf_counter(), bench.parser(__doc__).parse_args()
    bench.one_thread()
    sizes = [300, 600, 1_200] if options.quick else [3_000, 10_000, 30_000]
    adult = load_adult().sample(frac=1, random_state=0).reset_index(drop=True)
    people, test = adult.iloc[:-TEST], adult.iloc[-TEST:].reset_index(drop=True)
    peer = bench.Peer(partial(bench.peer_python, "anonymity"), "anonymity_peer.py")
    with tempfile.TemporaryDirectory() as folder:
        csv = Path(folder, "people.csv")
        people.to_csv(csv, index=False)
        reason = ""
        try:
            for way in (ANJANA, ANONYPY):
                peer.warm_up(
                    way=way, table=str(csv), rows=200, k=5, columns=COLUMNS, suppress=SUPPRESS
                )
        except bench.Skip as problem:
            reason = str(problem)

        def ways(k: int) -> dict:
            return {
                BASE: partial(by_privlab, people, k),
                **({} if reason else {
                    way: partial(by_peer, peer, way, csv, k) for way in (ANJANA, ANONYPY)
                }),
            }  # fmt: skip

        equivalence_classes(people.head(10), COLUMNS)  # whatever is imported at first use
        result = bench.race(ways(10), sizes)
        last, rows, costs = sizes[-1], [], {"k = 10": bench.raw(result)}
        for k in (5, 10, 50):
            found = result if k == 10 else bench.race(ways(k), [last])
            costs[f"k = {k}"] = bench.raw(found)
            for way, values in found.values.items():
                times = bench.short(found.cpu(way, last))
                rows.append([str(k), way, f"{times} s", *judge(people, test, values[last], k)])
        peer.close()
    raw = pd.get_dummies(pd.concat([people.head(last), test])[COLUMNS]).astype(float)
    exact = DecisionTreeClassifier(min_samples_leaf=50, random_state=0)
    exact.fit(raw.iloc[:last], people.head(last)["income"])
    rows.append(
        ["–", "as it is", "–", "0", "0.0%", f"{exact.score(raw.iloc[last:], test['income']):.1%}"]
    )
    second = {
        "caption": f"{last:,} rows:",
        "head": ["k", "", "CPU time", "information lost", "rows suppressed", "accuracy"],
        "rows": rows,
    }
    lost = {row[1]: row[3] for row in rows if row[0] == "10"}
    ratios = [
        f"{way} takes {bench.short(result.ratio(way, BASE, last)[0])} times the CPU time and loses "
        f"{lost[way]} of the information"
        for way in (ANJANA, ANONYPY)
        if last in result.costs.get(way, {})
    ]
    bench.finish(
        "anonymity", __doc__, options, started, ["numpy", "pandas", "scikit-learn"],
        tables=[{**bench.table(result, BASE, sizes, "rows"), "caption": "k = 10:"}, second],
        sentence=(
            f"On {last:,} rows at k = 10, privlab loses {lost[BASE]}; "
            f"{', '.join(ratios) or 'no peer ran'}."
        ),
        skipped={way: reason for way in (ANJANA, ANONYPY) if reason},
        costs=costs,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
