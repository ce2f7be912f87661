"""Secure aggregation with pairwise masks, small enough to read.

Each pair of clients shares a seed. In every round both draw the same random vector from it; one
adds it to its update, the other subtracts it. A single masked update is uniform in the integers
modulo 2³², whatever the update is, and in the sum of all clients the masks cancel. Source: Keith
Bonawitz and others, "Practical Secure Aggregation for Privacy-Preserving Machine Learning" (2017),
whose protocol also agrees on the seeds, adds a mask of each client's own, and survives clients that
drop out. NumPy's generator is not made for secrets: a real protocol uses AES or ChaCha20.
"""

import numpy as np
from numpy.typing import ArrayLike


def shared_seeds(clients: int, rng: np.random.Generator) -> np.ndarray:
    """Return a seed for each pair of clients, as a key exchange would leave them.

    Args:
        clients: How many, at least 2.
        rng: Draws the seeds.

    Returns:
        Symmetric, of shape (clients, clients): integers from 0 to 2⁶³ - 1; zeros on the diagonal.

    Raises:
        ValueError: There are fewer than two clients.
    """
    if isinstance(clients, bool) or not isinstance(clients, int | np.integer) or clients < 2:
        raise ValueError(f"clients must be an integer, at least 2, not {clients!r}")
    upper = np.triu(rng.integers(2**63, size=(clients, clients)), 1)
    return upper + upper.T


def mask(update: ArrayLike, client: int, seeds: np.ndarray, number: int) -> np.ndarray:
    """Return what a client sends in a round: its update under a mask for each other client.

    Args:
        update: Integers from 0 to 2³² - 1, of shape (P,).
        client: Which client this is, from 0.
        seeds: As :func:`shared_seeds` returns them.
        number: The round, at least 0; each round has masks of its own.

    Returns:
        Integers modulo 2³², of shape (P,), type ``uint32``.

    Raises:
        ValueError: An argument is out of range.
    """
    hidden = np.asarray(update)
    if hidden.ndim != 1 or hidden.dtype.kind not in "iu" or hidden.size == 0:
        raise ValueError("update must be a vector of integers")
    if hidden.min() < 0 or hidden.max() >= 2**32:
        raise ValueError("update must hold integers from 0 to 2**32 - 1")
    if seeds.ndim != 2 or seeds.shape[0] != seeds.shape[1] or not np.array_equal(seeds, seeds.T):
        raise ValueError("seeds must be a symmetric matrix, one row a client")
    if not 0 <= client < len(seeds):
        raise ValueError(f"client must be from 0 to {len(seeds) - 1}, not {client!r}")
    if number < 0:
        raise ValueError(f"number must be at least 0, not {number!r}")
    hidden = hidden.astype(np.uint32)
    for other in set(range(len(seeds))) - {client}:
        stream = np.random.default_rng([seeds[client, other], number])
        shared = stream.integers(2**32, size=len(hidden), dtype=np.uint32)
        hidden = hidden + shared if client < other else hidden - shared  # modulo 2³²
    return hidden
