"""System calls that no answer needs and that would get round the limits: a filter for bubblewrap.

The filter is a program in the kernel's own language (classic BPF, man 2 seccomp). It keeps code
from making a user namespace, in which it could mount folders without a limit; from memory that
stands in no process's account (memfd, System V, mappings shared without a file); from sessions of
its own, which get more of the processors; from the keys of whoever started the grader; and from the
larger, riskier parts of the kernel.
"""

import errno
import platform
import struct

#: By machine: its number in seccomp's data, then the numbers of what is refused.
_REFUSED = {
    "x86_64": (0xC000003E, {
        "memfd_create": 319, "memfd_secret": 447, "shmget": 29, "msgget": 68, "semget": 64,
        "unshare": 272, "setns": 308, "keyctl": 250, "add_key": 248, "request_key": 249,
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
        "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "io_uring_setup": 425,
        "io_setup": 206,
    }),
    "aarch64": (0xC00000B7, {
        "memfd_create": 279, "memfd_secret": 447, "shmget": 194, "msgget": 186, "semget": 190,
        "unshare": 97, "setns": 268, "keyctl": 219, "add_key": 217, "request_key": 218,
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271,
        "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "io_uring_setup": 425,
        "io_setup": 0,
    }),
}  # fmt: skip
_CLONE = {"x86_64": 56, "aarch64": 220}
_MMAP = {"x86_64": 9, "aarch64": 222}
_PRCTL = {"x86_64": 157, "aarch64": 167}
_SOCKET = {"x86_64": 41, "aarch64": 198}
_SETSOCKOPT = {"x86_64": 54, "aarch64": 208}
_SETSID = {"x86_64": 112, "aarch64": 157}
_CLONE3 = 435
#: x86_64 has a second set of numbers, from here on, for programs with short pointers.
_X32 = 0x40000000

_NEW_USER, _SHARED_NAMELESS, _HUGE = 0x10000000, 0x21, 0x40000  # flags of clone and of mmap
_SET_DUMPABLE = 4  # option of prctl
_FAMILIES = (1, 2, 10, 16)  # of sockets: Unix, IPv4, IPv6, and how the C library asks for names
_MULTIPATH = 262  # protocol of TCP sockets whose buffers stand in no list
_OF_SOCKET, _BUFFERS = 1, (7, 8)  # level, and options for sending and receiving

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16  # places in seccomp's data
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000


def rules(machine: str | None = None) -> bytes:
    """Return the filter.

    Args:
        machine: ``"x86_64"`` or ``"aarch64"``; None for this one.

    Raises:
        ValueError: The numbers of another machine are not known here.
    """
    machine = machine or platform.machine()
    if machine not in _REFUSED:
        raise ValueError(f"machine must be one of {', '.join(_REFUSED)}, not {machine!r}")
    number, refused = _REFUSED[machine]
    refuse = (_RETURN, 0, 0, _REFUSE | errno.EPERM)
    # Code, steps to skip if it holds, steps to skip if not, operand.
    steps = [
        (_LOAD, 0, 0, _MACHINE),
        (_EQUAL, 1, 0, number),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        refuse,
    ]
    for call in refused.values():
        steps += [(_EQUAL, 0, 1, call), refuse]
    steps += [
        # Its flags stand in memory, where no filter can look; the C library then takes clone.
        (_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _REFUSE | errno.ENOSYS),
    ]
    # A library that wants faster connections goes on without.
    pretend = (_RETURN, 0, 0, _REFUSE)
    # Linux shares out the processors by session first: with one each, twenty processes would leave
    # a neighbour the twentieth part.
    steps += [(_EQUAL, 0, 1, _SETSID[machine]), pretend]
    allow, flags = (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, _argument(3))
    for call, then in {
        _CLONE[machine]: [(_LOAD, 0, 0, _argument(0)), (_ANY_BIT, 0, 1, _NEW_USER), refuse],
        _MMAP[machine]: [
            flags,
            (_ANY_BIT, 0, 1, _HUGE),
            refuse,
            (_AND, 0, 0, _SHARED_NAMELESS),
            (_EQUAL, 0, 1, _SHARED_NAMELESS),
            refuse,
        ],
        _PRCTL[machine]: [(_LOAD, 0, 0, _argument(0)), (_EQUAL, 0, 1, _SET_DUMPABLE), refuse],
        _SOCKET[machine]: [
            (_LOAD, 0, 0, _argument(2)),
            (_EQUAL, 0, 1, _MULTIPATH),
            refuse,
            (_LOAD, 0, 0, _argument(0)),
            *(step for family in _FAMILIES for step in ((_EQUAL, 0, 1, family), allow)),
            refuse,
        ],
        _SETSOCKOPT[machine]: [
            (_LOAD, 0, 0, _argument(1)),
            (_EQUAL, 1, 0, _OF_SOCKET),
            allow,
            (_LOAD, 0, 0, _argument(2)),
            *(step for option in _BUFFERS for step in ((_EQUAL, 0, 1, option), pretend)),
        ],
    }.items():
        steps += [(_EQUAL, 0, len(then) + 1, call), *then, allow]
    steps.append(allow)
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _argument(number: int) -> int:
    """Return the place of the lower half of an argument in seccomp's data."""
    return _ARGUMENTS + 8 * number
