"""The course at a glance: the one list of lessons; README, lesson 00 and the checks read it."""

from dataclasses import dataclass

#: The public repository, owner and name. Badges and bootstrap cells point at it.
REPOSITORY = "privlab-course/privlab"

PARTS = {
    0: "Start",
    1: "Data: hiding names is not privacy",
    2: "Differential privacy: the foundation",
    3: "Federated learning: data stays where it is",
    4: "Encryption: at rest, in transit, in use",
    5: "Choosing",
}


@dataclass(frozen=True)
class Lesson:
    """One numbered notebook.

    Attributes:
        number: Two digits, e.g. ``"01"``.
        slug: The rest of the file's name, e.g. ``"reidentification"``.
        title: The heading of the notebook.
        part: A key of :data:`PARTS`.
        attack: What breaks at the start of the lesson, or ``"–"``.
        tools: What the lesson builds or uses against it.
        data: The real input.
        minutes: Working time of a learner, exercises included.
        needs: Distributions (as pip names them) that the notebook imports beyond privlab's own.
        kernel: The kernel's name, ``"python3"`` or ``"privlab-tf"``.
        budget: Seconds the notebook may take to run on two cores.
        ready: Whether the notebook is there yet.
    """

    number: str
    slug: str
    title: str
    part: int
    attack: str
    tools: str
    data: str
    minutes: int = 40
    needs: tuple[str, ...] = ()
    kernel: str = "python3"
    budget: int = 60
    ready: bool = False

    @property
    def file(self) -> str:
        """The notebook's file name."""
        return f"{self.number}_{self.slug}.ipynb"


LESSONS = (
    Lesson(
        "00",
        "start_here",
        "Start here",
        0,
        "two totals reveal a patient",
        "threat models, exercises, environment check",
        "four hospitals",
        30,
        ready=True,
    ),
    Lesson(
        "01",
        "reidentification",
        "Re-identification",
        1,
        "linkage by ZIP, sex and birth date; hashed IDs reversed",
        "Faker, HMAC, tokens, correlated fields",
        "ZIP populations, Census, Adult",
        70,
        ("scikit-learn", "faker"),
        ready=True,
    ),
    Lesson(
        "02",
        "k_anonymity",
        "k-anonymity and its limits",
        1,
        "homogeneity, skewness, composition of two releases",
        "generalisation, Mondrian, pycanon; k, l and t",
        "Adult",
        75,
        ("scikit-learn", "pycanon"),
        ready=True,
    ),
    Lesson(
        "03",
        "differential_privacy",
        "Differential privacy",
        2,
        "differencing; an audit of every mechanism",
        "randomised response, Laplace, sensitivity",
        "Adult",
        70,
        ("diffprivlib",),
        ready=True,
    ),
    Lesson(
        "04",
        "privacy_budget",
        "The privacy budget",
        2,
        "averaging repeated answers; the floating-point attack",
        "composition, (ε, δ), Gaussian, dp-accounting",
        "Adult",
        75,
        ("dp-accounting", "diffprivlib"),
        ready=True,
    ),
    Lesson(
        "05",
        "private_statistics",
        "Private statistics",
        2,
        "reconstruction from too many exact answers",
        "diffprivlib, BudgetAccountant",
        "Adult",
        75,
        ("diffprivlib", "dp-accounting", "scikit-learn"),
        ready=True,
    ),
    Lesson(
        "06",
        "dp_sgd_from_scratch",
        "DP-SGD from scratch",
        2,
        "a memorised canary",
        "per-sample gradients, clipping, noise",
        "Fashion-MNIST",
        75,
        ("torch", "opacus", "dp-accounting"),
        ready=True,
    ),
    Lesson(
        "07",
        "opacus",
        "Opacus",
        2,
        "BatchNorm that gossips",
        "PrivacyEngine, accountants, ghost clipping",
        "Fashion-MNIST",
        75,
        ("torch", "opacus", "dp-accounting"),
        ready=True,
    ),
    Lesson(
        "08",
        "membership_inference",
        "Membership inference",
        2,
        "loss threshold, LiRA, one-run audit",
        "Opacus as the defence",
        "Adult, Fashion-MNIST",
        75,
        ("torch", "opacus", "dp-accounting"),
        ready=True,
    ),
    Lesson(
        "09",
        "tensorflow_privacy",
        "TensorFlow Privacy",
        2,
        "TF Privacy's own membership inference report",
        "DP-SGD in Keras, ε compared",
        "Fashion-MNIST",
        75,
        kernel="privlab-tf",
        budget=90,
        ready=True,
    ),
    Lesson(
        "10",
        "federated_averaging",
        "Federated averaging",
        3,
        "what the server sees",
        "local training, update, aggregation",
        "four hospitals",
        70,
        ("scikit-learn",),
        ready=True,
    ),
    Lesson(
        "11",
        "uneven_clients",
        "Uneven clients",
        3,
        "a model that forgets the clients who are away",
        "FedProx, FedAdam, SCAFFOLD, personalisation",
        "digits, four hospitals",
        70,
        ("scikit-learn",),
        ready=True,
    ),
    Lesson(
        "12",
        "flower",
        "Flower",
        3,
        "what the server reads, a liar, an open port",
        "Flower: strategies, SuperLink and SuperNodes over TLS",
        "four hospitals",
        75,
        ("flwr", "cryptography", "torch", "opacus", "dp-accounting", "scikit-learn"),
        budget=120,
        ready=True,
    ),
    Lesson(
        "13",
        "tensorflow_federated",
        "TensorFlow Federated",
        3,
        "a PIN typed on one phone comes out of everybody's keyboard",
        "FedAvg and DP-FedAvg in TFF, user-level ε",
        "invented phones",
        75,
        kernel="privlab-tf",
        budget=120,
        ready=True,
    ),
    Lesson(
        "14",
        "pysyft",
        "PySyft",
        3,
        "a greedy job that copies the private table",
        "mock data, review, output policy, remote execution",
        "three hospitals",
        70,
        ("syft", "syft-rds", "torch"),
        ready=True,
    ),
    Lesson(
        "15",
        "gradient_leakage",
        "Gradient leakage",
        3,
        "an image reconstructed from one update",
        "clipping and noise, secure aggregation",
        "Fashion-MNIST",
        75,
        ("torch", "dp-accounting", "flwr"),
        ready=True,
    ),
    Lesson(
        "16",
        "encryption_at_rest",
        "Encryption at rest",
        4,
        "ECB, reused nonce, tampering, weak password, frequencies",
        "cryptography, PyNaCl",
        "Adult, Fashion-MNIST, invented patients",
        70,
        ("cryptography", "pynacl", "faker"),
        ready=True,
    ),
    Lesson(
        "17",
        "encryption_in_transit",
        "Encryption in transit",
        4,
        "a wiretap; a man in the middle; sizes",
        "TLS, own CA, mutual TLS, padding",
        "hospital updates",
        70,
        ("cryptography", "trustme", "requests"),
        ready=True,
    ),
    Lesson(
        "18",
        "secure_computation",
        "Secure computation",
        4,
        "what colluding parties learn",
        "additive and Shamir's sharing, Beaver triples, MPyC",
        "four hospitals",
        70,
        ("mpyc",),
        ready=True,
    ),
    Lesson(
        "19",
        "homomorphic_encryption",
        "Homomorphic encryption",
        4,
        "a dictionary reads what is encrypted without randomness",
        "Paillier, TenSEAL (CKKS)",
        "heart disease",
        70,
        ("tenseal", "cryptography", "scikit-learn"),
        ready=True,
    ),
    Lesson(
        "20",
        "choosing",
        "Choosing",
        5,
        "the best of twelve runs; a winner by luck; every way attacked",
        "sweeps, Pareto fronts, private selection, a decision guide",
        "four hospitals",
        75,
        ("torch", "dp-accounting", "tenseal", "mpyc"),
        ready=True,
    ),
    Lesson(
        "21",
        "capstone",
        "Capstone",
        5,
        "all of them",
        "from raw table to released model",
        "four hospitals",
        90,
        ("faker", "cryptography", "trustme", "dp-accounting"),
        ready=True,
    ),
)


def lesson(number: str) -> Lesson:
    """Return the lesson with a two-digit number; ``ValueError`` names the numbers there are."""
    for entry in LESSONS:
        if entry.number == number:
            return entry
    raise ValueError(f"there is no lesson {number!r}: the course has 00 to {LESSONS[-1].number}")


def binder_url(entry: Lesson, repository: str = REPOSITORY) -> str:
    """Return the address that opens a lesson on Binder."""
    return f"https://mybinder.org/v2/gh/{repository}/HEAD?urlpath=lab/tree/notebooks/{entry.file}"


def colab_url(entry: Lesson, repository: str = REPOSITORY) -> str:
    """Return the address that opens a lesson on Colab."""
    return f"https://colab.research.google.com/github/{repository}/blob/main/notebooks/{entry.file}"


def badges(entry: Lesson, repository: str = REPOSITORY) -> str:
    """Return the badges of a lesson in Markdown; Colab has no kernel but its own."""
    binder = "https://mybinder.org/badge_logo.svg"
    colab = "https://colab.research.google.com/assets/colab-badge.svg"
    found = f"[![Open in Binder]({binder})]({binder_url(entry, repository)})"
    if entry.kernel == "python3":
        found += f" [![Open in Colab]({colab})]({colab_url(entry, repository)})"
    return found


def markdown_table(repository: str = REPOSITORY) -> str:
    """Return the lesson table of the README; ``privlab badges`` writes it there."""
    lines = [
        "| no. | lesson | what is attacked | tools | minutes | kernel | open |",
        "|---|---|---|---|---|---|---|",
    ]
    part = None
    for entry in LESSONS:
        if entry.part != part and entry.part:
            lines.append(f"| | **Part {entry.part} · {PARTS[entry.part]}** | | | | | |")
        part = entry.part
        if entry.ready:
            title = f"[{entry.title}](notebooks/{entry.file})"
            links = badges(entry, repository)
        else:
            title, links = entry.title, "not there yet"
        kernel = "" if entry.kernel == "python3" else f"`{entry.kernel}`"
        cells = (entry.number, title, entry.attack, entry.tools, str(entry.minutes), kernel, links)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
