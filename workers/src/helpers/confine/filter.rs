//! The system calls that a decoder needs; any other ends the process.

use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};
use std::collections::BTreeMap;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Always allowed: memory that is given back, waiting, time, chance, signals of its own, its end.
const PLAIN: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_restart_syscall,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Answered as if the kernel had none: the C library makes threads another way, and who asks how many processors there
/// are takes the scheduler's word for it.
const ABSENT: &[i64] = &[libc::SYS_clone3, libc::SYS_openat];

/// Last of the descriptors that it may write to.
const LAST: u64 = 2;

fn bits(flags: libc::c_int) -> u64 {
    u64::from(flags.cast_unsigned())
}

/// Whether an argument's low 32 bits stand in a relation.
fn argument(place: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, Error> {
    Ok(SeccompCondition::new(place, SeccompCmpArgLen::Dword, operator, value)?)
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<Vec<SeccompRule>, Error> {
    Ok(vec![SeccompRule::new(conditions)?])
}

fn rules() -> Result<Rules, Error> {
    use SeccompCmpOp::{Eq, Le, MaskedEq};
    let mut rules: Rules = PLAIN.iter().chain(ABSENT).map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_read, rule(vec![argument(0, Eq, 0)?])?);
    for call in [libc::SYS_write, libc::SYS_writev] {
        rules.insert(call, rule(vec![argument(0, Le, LAST)?])?);
    }
    // Memory of its own, which the limit of memory counts, and which is never run.
    let kinds = bits(libc::MAP_SHARED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let own = bits(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let not_run = || argument(2, MaskedEq(bits(libc::PROT_EXEC)), 0);
    rules.insert(
        libc::SYS_mmap,
        rule(vec![not_run()?, argument(3, MaskedEq(kinds), own)?])?,
    );
    rules.insert(libc::SYS_mprotect, rule(vec![not_run()?])?);
    // Threads of its own, and nothing else that is a process.
    let elsewhere = bits(
        libc::CLONE_NEWUSER
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWCGROUP,
    );
    let thread = bits(libc::CLONE_THREAD | libc::CLONE_VM);
    rules.insert(
        libc::SYS_clone,
        rule(vec![argument(0, MaskedEq(thread | elsewhere), thread)?])?,
    );
    rules.insert(libc::SYS_prctl, rule(vec![argument(0, Eq, bits(libc::PR_SET_NAME))?])?);
    // A signal to itself, as `abort` sends it.
    let itself = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, rule(vec![argument(0, Eq, itself)?])?);
    Ok(rules)
}

fn program(rules: Rules, others: SeccompAction, these: SeccompAction) -> Result<BpfProgram, Error> {
    let here: TargetArch = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, others, these, here)?.try_into()?)
}

/// Installs the filter on this process, which has one thread.
pub(super) fn install() -> Result<(), String> {
    let installed = || {
        // Of two filters the stricter word counts.
        let absent: Rules = ABSENT.iter().map(|call| (*call, Vec::new())).collect();
        let none = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
        apply_filter(&program(absent, SeccompAction::Allow, none)?)?;
        apply_filter(&program(rules()?, SeccompAction::KillProcess, SeccompAction::Allow)?)
    };
    installed().map_err(|error| error.to_string())
}
