"""Compute and draw the picture of the README: ``make picture`` runs this.

Each row is one promise, one attack on it, and what the attack achieves without the defence and with
it: computed here on the data of the course, with its own modules. The numbers go to
``docs/idea.json``, the picture to ``docs/idea.png`` and its words to the README. With ``--draw``
nothing is computed anew.
"""

import json
import re
import ssl
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from privlab import federated, networks, people, plots, secagg, transport
from privlab.attacks import inversion, wiretap
from privlab.attacks.linkage import link
from privlab.data import load_adult, load_fashion, load_hospitals, load_zip_populations

ROOT = Path(__file__).resolve().parent.parent
NUMBERS = ROOT / "docs" / "idea.json"
PICTURE = ROOT / "docs" / "idea.png"
README = ROOT / "README.md"
_WORDS = re.compile(r"(<!-- picture:.*?-->\n).*?(\n<!-- end of picture -->)", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """A promise and how it is kept.

    Attributes:
        lesson: The two-digit number of the lesson that is about it.
        promise: What people are told.
        attack: What the attacker does.
        defence: What the lesson builds against it.
        success: What the numbers are a share of.
        without: Share of successes without the defence, from 0 to 1.
        defended: Share of successes with it.
        guess: Share of successes of somebody who guesses and sees nothing.
    """

    lesson: str
    promise: str
    attack: str
    defence: str
    success: str
    without: float
    defended: float
    guess: float


def names_are_removed() -> Row:
    """Link a hospital's table without names to a voter list, as in lesson 01."""
    rng = np.random.default_rng(1)
    zip_sizes = load_zip_populations().set_index("zip")["population"].loc["02138":"02142"]
    town = people.make_town(zip_sizes.to_dict(), rng)
    hospital = people.hospital_table(town, patients=5000, rng=rng)
    voters = people.voter_list(town, rng, share=0.7)
    on = ["zip", "sex", "birth_date"]
    by_year = [t.assign(birth_date=t["birth_date"].dt.year) for t in (hospital, voters)]
    return Row(
        "01",
        "“The names are removed.”",
        "link ZIP code, sex and birth date to a voter list",
        "birth year only",
        "of 5,000 patients named rightly",
        link(hospital, voters, on).recall,
        link(*by_year, on).recall,
        1 / len(voters),
    )


def only_totals_are_published(epsilon: float = 1.0) -> Row:
    """Subtract two totals that differ by one patient, as in lesson 03.

    With the defence, each total carries Laplace noise at ε / 2 (adjacency: one patient added or
    removed, which changes a count by at most 1); the two together spend ε (Dwork, McSherry,
    Nissim and Smith 2006).
    """
    rng = np.random.default_rng(3)
    ill = load_hospitals()["ill"].to_numpy(int)
    total = ill.sum()
    noise = rng.laplace(scale=2 / epsilon, size=(2, len(ill)))
    exact = total - (total - ill)
    noisy = (total + noise[0]) - (total - ill + noise[1])

    def found(difference: np.ndarray) -> float:
        # The mean over ill and healthy: one guess for all would be right for half.
        return float(
            np.mean([(difference > 0.5)[ill == 1].mean(), (difference < 0.5)[ill == 0].mean()])
        )

    return Row(
        "03",
        "“Only totals are published.”",
        "subtract two totals that differ by one patient",
        f"Laplace noise, ε = {epsilon:g}",
        "of 920 patients' diagnoses read rightly (ill and healthy weigh the same)",
        found(exact),
        found(noisy),
        0.5,
    )


def the_model_forgets() -> Row:
    """Read secrets out of a trained network, as in lesson 06.

    A hundred noise images are trained on with a random label each. Adjacency of ε: one image added
    or removed. DP-SGD: Abadi and others (2016).
    """
    import torch
    from dp_accounting import dp_event
    from dp_accounting.pld import PLDAccountant
    from opacus import PrivacyEngine
    from opacus.accountants.utils import get_noise_multiplier
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Secure RNG|Full backward|Optimal order")
    X, y, _, _ = networks.fashion_tensors()
    rng = np.random.default_rng(6)
    patterns = rng.choice([-1.0, 1.0], size=(100, 1, 14, 14))
    cards = torch.from_numpy(np.kron(patterns, np.ones((2, 2)))).float()
    secrets = torch.from_numpy(rng.integers(10, size=100))
    X[:100], y[:100] = cards, secrets
    data = TensorDataset(X, y)

    def train(network: torch.nn.Module, optimiser: torch.optim.Optimizer, batches: DataLoader,
              epochs: int) -> float:  # fmt: skip
        for _ in range(epochs):
            for images, labels in batches:
                optimiser.zero_grad()
                cross_entropy(network(images), labels).backward()
                optimiser.step()
        return round(100 * networks.accuracy(network, cards, secrets)) / 100

    torch.manual_seed(6)
    plain = networks.small_network()
    shuffled = DataLoader(data, batch_size=50, shuffle=True)
    without = train(plain, torch.optim.SGD(plain.parameters(), lr=0.1), shuffled, 10)

    rate = networks.BATCH_SIZE / len(X)
    steps = round(networks.EPOCHS / rate)
    sigma = get_noise_multiplier(
        target_epsilon=networks.EPSILON,
        target_delta=networks.DELTA,
        sample_rate=rate,
        steps=steps,
        accountant="prv",
    )
    step = dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(sigma))
    second = PLDAccountant().compose(step, steps).get_epsilon(networks.DELTA)
    if not 0.97 * networks.EPSILON < second <= 1.005 * networks.EPSILON:
        raise AssertionError(f"the second accountant says ε = {second:.3f}")
    network = networks.small_network()
    private, optimiser, batches = PrivacyEngine().make_private(
        module=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=networks.LEARNING_RATE),
        data_loader=DataLoader(data, batch_size=networks.BATCH_SIZE),
        noise_multiplier=sigma,
        max_grad_norm=networks.MAX_GRAD_NORM,
    )
    return Row(
        "06",
        "“The model does not remember anyone.”",
        "ask the network for secrets hidden in its training data",
        f"DP-SGD, ε = {networks.EPSILON:g}",
        "of 100 secrets found at first guess",
        without,
        train(private, optimiser, batches, networks.EPOCHS),
        0.1,
    )


def data_stay_on_the_phone(clients: int = 100) -> Row:
    """Rebuild images from what clients send, as in lesson 15, by an honest but curious server.

    With secure aggregation (Bonawitz and others 2017) the server has the sum of all updates alone.
    """
    import torch
    from torch import nn

    torch.manual_seed(15)
    fashion = load_fashion()
    pixels, labels = fashion.X_train[:clients] / 255, fashion.y_train[:clients]
    X = torch.from_numpy(pixels).float()[:, None]
    y = torch.from_numpy(labels).long()
    units = 64
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, units), nn.ReLU(), nn.Linear(units, 10))
    updates = [inversion.local_update(network, X[[i]], y[[i]]) for i in range(clients)]

    def rebuilt(guesses: np.ndarray) -> float:
        """Share of the images of which some guess has an SSIM above 0.9."""
        tiled = [np.broadcast_to(image, guesses.shape) for image in pixels]
        return float(np.mean([inversion.ssim(guesses, image).max() > 0.9 for image in tiled]))

    single = [inversion.dense_input(part[0].numpy(), part[1].numpy()) for part in updates]
    without = rebuilt(np.clip(single, 0, 1).reshape(-1, 28, 28))

    # 20 binary places; the sum of all stays below 2**31.
    flat = [np.concatenate([part.numpy().ravel() for part in update[:2]]) for update in updates]
    encoded = [np.round(each * 2**20).astype(np.int64).astype(np.uint32) for each in flat]
    seeds = secagg.shared_seeds(clients, np.random.default_rng(15))
    sent = [secagg.mask(each, client, seeds, 1) for client, each in enumerate(encoded)]
    total = np.sum(sent, axis=0, dtype=np.uint32).astype(np.int32) / 2**20
    weights, bias = total[: units * 784].reshape(units, 784), total[units * 784 :]
    used = np.abs(bias) > 1e-3
    quotients = np.clip(weights[used] / bias[used, None], 0, 1).reshape(-1, 28, 28)

    public = fashion.X_train[5000:] / 255
    means = np.stack([public[fashion.y_train[5000:] == c].mean(axis=0) for c in range(10)])
    return Row(
        "15",
        "“The data stay on the phone.”",
        "rebuild the image from the update that is sent",
        "secure aggregation",
        f"of {clients} clients' images rebuilt (SSIM above 0.9)",
        without,
        rebuilt(quotients),
        rebuilt(means),
    )


def the_disk_is_encrypted() -> Row:
    """Read an encrypted column by how often each ciphertext occurs, as in lesson 16."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    rng = np.random.default_rng(16)
    column = load_adult()["marital_status"].to_numpy()
    rng.shuffle(column)
    stored, public = np.array_split(column, 2)
    # A key drawn with a seed serves here alone, where nothing is kept secret.
    key = rng.bytes(32)
    padded = [value.encode().ljust(32) for value in stored]
    ecb = Cipher(algorithms.AES(key), modes.ECB())
    repeated = [ecb.encryptor().update(value) for value in padded]
    gcm, nonces = AESGCM(key), [number.to_bytes(12) for number in range(len(padded))]
    fresh = [gcm.encrypt(nonce, value, None) for nonce, value in zip(nonces, padded, strict=True)]
    by_frequency = pd.Series(public).value_counts().index

    def read(ciphertexts: list[bytes]) -> float:
        """Give the most frequent ciphertext the most frequent value, and so on."""
        ranks = pd.Series(ciphertexts).value_counts().index[: len(by_frequency)]
        guesses = pd.Series(ciphertexts).map(dict(zip(ranks, by_frequency, strict=True)))
        return float((guesses.fillna(by_frequency[0]) == stored).mean())

    return Row(
        "16",
        "“The disk is encrypted.”",
        "count how often each ciphertext occurs (AES-ECB)",
        "a nonce for each record (AES-GCM)",
        f"of {len(stored):,} people's marital status read",
        read(repeated),
        read(fresh),
        float((stored == by_frequency[0]).mean()),
    )


def the_line_is_private() -> Row:
    """Tap the line between four hospitals and their hub, as in lesson 17."""
    import trustme

    table = load_hospitals()
    X, y = federated.hospital_features(table), table["ill"].to_numpy(int)
    parts = federated.natural_partition(table["hospital"])
    clients = federated.make_clients(X, y, list(parts.values()))
    rng = np.random.default_rng(17)
    model = federated.Network(features=X.shape[1])
    first = next(federated.fedavg(model, clients, 1, 1, learning_rate=0.3, rng=rng))
    updates = first.received.updates.astype("<f4")
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)

    def read(server_side: ssl.SSLContext | None, client_side: ssl.SSLContext | None) -> float:
        """Share of the updates that stand on the wire."""
        bodies = [update.tobytes() for update in updates]
        with transport.Service(server_side) as service, wiretap.Wiretap(service.port) as tap:
            transport.exchange(tap.port, bodies, client_side)
        return float(np.mean([body in tap.sent for body in bodies]))

    return Row(
        "17",
        "“Nobody listens to the line.”",
        "tap the connection between hospitals and their hub",
        "TLS 1.3, server verified",
        f"of {len(updates)} hospitals' model updates read",
        read(None, None),
        read(server, client),
        0.0,
    )


#: From top to bottom; only the third takes more than a few seconds.
ROWS: tuple[Callable[[], Row], ...] = (
    names_are_removed,
    only_totals_are_published,
    the_model_forgets,
    data_stay_on_the_phone,
    the_disk_is_encrypted,
    the_line_is_private,
)


def percentage(share: float) -> str:
    """Write a share for readers: no 0 % for what is not 0, no 100 % for what is not all."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    rounded = round(100 * share)
    exact = share in (0, 1) or 0 < rounded < 100
    return f"{rounded} %" if exact else f"{100 * share:.1f} %"


def words(rows: list[Row]) -> str:
    """Return the text alternative of the picture."""
    told = [
        f"{row.promise} Attack of lesson {row.lesson}: {row.attack}; {percentage(row.without)} "
        f"{row.success}. With {row.defence}: {percentage(row.defended)}; a mere guess: "
        f"{percentage(row.guess)}."
        for row in rows
    ]
    return " ".join(
        ["Six promises of privacy, each attacked without a defence and with it.", *told]
    )


def draw(rows: list[Row]) -> Figure:
    """Draw one line a promise, from the attack without the defence to the attack with it."""
    fig, (ax,) = plots.figure(width=10.5, height=6.2)
    places = np.arange(len(rows))
    without, defended, guess = (
        np.array([getattr(row, name) for row in rows]) for name in ("without", "defended", "guess")
    )
    arrow = {"arrowstyle": "-|>", "color": plots.GREY, "lw": 1.6, "shrinkA": 8, "shrinkB": 8}
    number = {"ha": "center", "va": "center", "fontweight": "bold", "fontsize": 11}
    beside = {"x": -0.1, "ha": "right", "va": "center"}
    for y, row in zip(places, rows, strict=True):
        ax.annotate("", (row.defended, y), (row.without, y), arrowprops=arrow, zorder=1)
        ax.text(row.without, y - 0.3, percentage(row.without), color=plots.RED, **number)
        ax.text(row.defended, y - 0.3, percentage(row.defended), color=plots.BLUE, **number)
        ax.text(row.guess, y + 0.31, f"guess {percentage(row.guess)}", ha="center", va="center",
                fontsize=8.5, color=plots.GREY)  # fmt: skip
        ax.text(y=y - 0.22, s=row.promise, fontsize=11.5, fontweight="bold", **beside)
        ax.text(y=y + 0.06, s=f"attack: {row.attack}", fontsize=9, **beside)
        ax.text(
            y=y + 0.29, s=f"defence of lesson {row.lesson}: {row.defence}", fontsize=9, **beside
        )
    ax.scatter(guess, places, marker="|", s=330, lw=2.5, color=plots.ORANGE, zorder=2,
               label="a guess that sees nothing")  # fmt: skip
    ax.scatter(without, places, marker="X", s=110, color=plots.RED, zorder=3,
               label="attack without the defence")  # fmt: skip
    ax.scatter(defended, places, marker="o", s=80, color=plots.BLUE, zorder=3,
               label="the same attack with it")  # fmt: skip
    ax.set(
        xlim=(-0.08, 1.06), ylim=(len(rows) - 0.45, -0.6), xticks=np.linspace(0, 1, 6), yticks=[]
    )
    ax.spines["left"].set_visible(False)
    plots.percent(ax.xaxis)
    ax.set_xlabel("share of the attacks that succeed, measured on the data of the course")
    fig.legend(loc="outside upper right", ncols=3, fontsize=10)
    return fig


def write(rows: list[Row]) -> None:
    """Write the numbers, the picture and its words in the README."""
    text = README.read_text(encoding="utf-8")
    image = f"![{words(rows)}]({PICTURE.relative_to(ROOT).as_posix()})"
    text, found = _WORDS.subn(lambda match: match[1] + image + match[2], text)
    if found != 1:
        raise ValueError("README.md must have one place between the comments `picture` and `end`")
    numbers = json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False)
    NUMBERS.write_text(numbers + "\n", encoding="utf-8")
    # The words travel in the file, too: they tell from which numbers it was drawn.
    draw(rows).savefig(PICTURE, dpi=150, metadata={"Software": None, "Description": words(rows)})
    README.write_text(text, encoding="utf-8")


def read() -> list[Row]:
    """Return the rows as they were computed last."""
    return [Row(**row) for row in json.loads(NUMBERS.read_text(encoding="utf-8"))]


if __name__ == "__main__":
    write(read() if sys.argv[1:] == ["--draw"] else [make() for make in ROWS])
