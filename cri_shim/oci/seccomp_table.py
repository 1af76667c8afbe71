"""The default seccomp profile as data: what every container may call, and what a few may.

The list says what container runtimes of the field agree on (checked against their published
profiles): all that ordinary programs call, without what reaches beyond the container (modules,
mounts, clocks, keyrings, raw memory policy, io_uring). Names that the machine's architecture does
not have are passed over by the OCI runtime.

It is an allow list, so that a system call of a newer kernel is refused until somebody has looked at
it. What is left out, and why: keyrings (`add_key`, `keyctl`) know no namespaces; io_uring does its
work past the filter and had a long row of holes (containerd#9048, moby#46762); `userfaultfd` helps
exploits to win races in the kernel; `kexec_load`, `swapon`, `nfsservctl` are the host's.
"""

from dataclasses import dataclass

ALLOW = "SCMP_ACT_ALLOW"
ERRNO = "SCMP_ACT_ERRNO"
EPERM, ENOSYS = 1, 38

_FILES = """
access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32
fchownat fcntl fcntl64 fdatasync file_getattr file_setattr flock fstat fstat64 fstatat64 fstatfs
fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 ioctl lchown lchown32
link linkat _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat
open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink
readlinkat readv rename renameat renameat2 rmdir sendfile sendfile64 splice stat stat64 statfs
statfs64 statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink
unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev
"""
_ATTRIBUTES = """
fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat
llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat
"""
_WAITING = """
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1
inotify_rm_watch _newselect pipe pipe2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select
signalfd signalfd4 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
timerfd_settime64
"""
_ASYNC_IO = """
io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit
"""
_MEMORY = """
brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2
mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
pkey_mprotect remap_file_pages
"""
_PROCESSES = """
execve execveat exit exit_group fork getcpu getpgid getpgrp getpid getppid getpriority getrlimit
getrusage getsid gettid get_robust_list get_thread_area ioprio_get ioprio_set kill pause
pidfd_open pidfd_send_signal prctl prlimit64 process_mrelease restart_syscall rseq
sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min
sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity
sched_setattr sched_setparam sched_setscheduler sched_yield setpgid setpriority setrlimit
set_robust_list setsid set_thread_area set_tid_address sysinfo tgkill times tkill ugetrlimit uname
uretprobe vfork wait4 waitid waitpid
"""
_LOCKS = "futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake"
_SIGNALS = """
rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn
"""
_TIME = """
adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer
time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
timer_settime64
"""
_IDENTITY = """
capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getrandom
getresgid getresgid32 getresuid getresuid32 getuid getuid32 landlock_add_rule
landlock_create_ruleset landlock_restrict_self lsm_get_self_attr lsm_list_modules seccomp setfsgid
setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid
setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32
"""
_NETWORK = """
accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair
"""
_SYSTEM_V = """
ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
semtimedop_time64 shmat shmctl shmdt shmget
"""

_GROUPS = (
    _FILES, _ATTRIBUTES, _WAITING, _ASYNC_IO, _MEMORY, _PROCESSES, _LOCKS, _SIGNALS, _TIME,
    _IDENTITY, _NETWORK, _SYSTEM_V,
)  # fmt: skip
EVERYONE: tuple[str, ...] = tuple(sorted(" ".join(_GROUPS).split()))


@dataclass(frozen=True, slots=True)
class Compare:
    """One argument against a value: op is `EQ`, `NE` or `MASKED_EQ` (value is the mask)."""

    index: int
    op: str
    value: int
    value_two: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """Holds with any of `caps` (none named: always), without all of `without`, on `machines`.

    `machines` are as uname says, with a leading `!` for all others; `kernel` is the oldest.
    """

    names: str
    caps: str = ""
    without: str = ""
    machines: str = ""
    kernel: tuple[int, int] = (0, 0)
    args: tuple[Compare, ...] = ()
    action: str = ALLOW
    errno: int | None = None


_NEW_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET together."""

_AF_VSOCK = 40
"""Reaches the hypervisor: vsock addresses know no network namespace."""

_PERSONALITIES = (0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)
"""Linux, 32-bit Linux, uname 2.6, both, and the question which it is.

Others switch protections off (ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC) or emulate old systems."""

RULES: tuple[Rule, ...] = (
    Rule("socket", args=(Compare(0, "NE", _AF_VSOCK),)),
    *(Rule("personality", args=(Compare(0, "EQ", value),)) for value in _PERSONALITIES),
    # Before 4.8 a tracer could change a system call after seccomp had let it pass.
    Rule("process_vm_readv process_vm_writev ptrace", kernel=(4, 8)),
    # New namespaces only with SYS_ADMIN: a user namespace gives a full set of capabilities inside,
    # and with them the way to kernel code that was long reachable by root alone.
    Rule(
        "clone",
        without="SYS_ADMIN",
        machines="!s390x",
        args=(Compare(0, "MASKED_EQ", _NEW_NAMESPACES),),
    ),
    # s390 has the first two arguments of clone the other way round (clone(2), "C library/kernel
    # differences").
    Rule(
        "clone",
        without="SYS_ADMIN",
        machines="s390x",
        args=(Compare(1, "MASKED_EQ", _NEW_NAMESPACES),),
    ),
    # Its flags lie in memory, where a filter cannot look. With ENOSYS the C library falls back to
    # clone; EPERM it would take as final, and no thread could be started (moby#42680).
    Rule("clone3", without="SYS_ADMIN", action=ERRNO, errno=ENOSYS),
    Rule(
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick listmount lookup_dcookie "
        "lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr "
        "perf_event_open quotactl quotactl_fd setdomainname sethostname setns statmount syslog "
        "umount umount2 unshare",
        caps="SYS_ADMIN",
    ),
    Rule("acct", caps="SYS_PACCT"),
    Rule("bpf", caps="BPF"),
    Rule("chroot", caps="SYS_CHROOT"),
    Rule("clock_settime clock_settime64 settimeofday stime", caps="SYS_TIME"),
    Rule("delete_module finit_module init_module", caps="SYS_MODULE"),
    Rule("get_mempolicy mbind set_mempolicy set_mempolicy_home_node", caps="SYS_NICE"),
    Rule("ioperm iopl", caps="SYS_RAWIO"),
    Rule(
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
        caps="SYS_PTRACE",
    ),
    # Opens any file of a filesystem by a number that can be guessed, past what the mount shows.
    Rule("open_by_handle_at", caps="DAC_READ_SEARCH"),
    Rule("perf_event_open", caps="PERFMON"),
    Rule("reboot", caps="SYS_BOOT"),
    Rule("syslog", caps="SYSLOG"),
    Rule("vhangup", caps="SYS_TTY_CONFIG"),
    # Calls of one architecture each, which its C library needs.
    Rule("arch_prctl modify_ldt", machines="x86_64"),
    Rule("modify_ldt", machines="i686"),
    Rule(
        "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
        machines="aarch64 armv7l",
    ),
    Rule("swapcontext sync_file_range2", machines="ppc64le"),
    Rule("s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr", machines="s390x"),
    Rule("riscv_flush_icache riscv_hwprobe", machines="riscv64"),
)

ARCHITECTURES: dict[str, tuple[str, ...]] = {
    "x86_64": ("X86_64", "X86", "X32"),
    "i686": ("X86",),
    "aarch64": ("AARCH64", "ARM"),
    "armv7l": ("ARM",),
    "ppc64le": ("PPC64LE",),
    "s390x": ("S390X", "S390"),
    "riscv64": ("RISCV64",),
    "loongarch64": ("LOONGARCH64",),
    "mips64": ("MIPS64", "MIPS", "MIPS64N32"),
}
"""The machine's own, and those whose programs its kernel runs too (without `SCMP_ARCH_`)."""
