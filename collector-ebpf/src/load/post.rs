//! Where programs sit at a hook: what stays attached while they come, change and go.
//!
//! A post is a stub that is attached once. All it does is to jump into the program in the one slot of an array of programs:
//! the fused programs of all probes that sit there. One write to the slot changes them for every CPU: an event runs in the
//! program before or in the one after, never in both or in none. So who comes, is changed or goes touches no event of the
//! others. The jump costs a few nanoseconds, as the kernel makes it a direct one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::attach::{self, Attachment};
use super::error::LoadError;
use super::fusion::{self, Member};
use super::map::{Map, MapKind, MapSpec};
use super::program::{self, ProgramInfo};
use super::program_types::Function;
use super::rings::RingMap;
use super::syscall::raw;
use crate::kernel::Hook;
use crate::object::{Insn, LOAD_WIDE, PSEUDO_MAP_FD};

/// The posts of all hooks at which somebody sits.
#[derive(Debug, Default)]
pub struct Posts(Mutex<Vec<Arc<HookPosts>>>);

/// The posts of one hook: one, until that is full.
#[derive(Debug)]
struct HookPosts {
    hook: Arc<Hook>,
    /// Held while the kernel attaches.
    posts: Mutex<Vec<Post>>,
    next_number: AtomicU64,
}

#[derive(Debug)]
struct Post {
    // Dropped first: nothing runs any more when stub, slot and program go.
    attachment: Option<Attachment>,
    stub: OwnedFd,
    slot: Map,
    program: OwnedFd,
    seated: Vec<Seated>,
    /// Those whose functions may still be in the program although they left.
    lingering: Vec<Arc<Member>>,
}

#[derive(Clone, Debug)]
struct Seated {
    /// The seat's.
    number: u64,
    member: Arc<Member>,
}

/// A probe's seat at a hook. Dropping it gives it up and waits until no CPU runs its program.
#[derive(Debug)]
pub struct Seat {
    at: Arc<HookPosts>,
    rings: RingMap,
    number: u64,
    member: Arc<Member>,
    /// What the stub had missed when the seat was taken; `None` when it is not.
    missed_before: Option<u64>,
    /// Events missed while it was taken earlier.
    missed: u64,
}

impl Posts {
    fn at(&self, hook: &Arc<Hook>) -> Arc<HookPosts> {
        let mut all = lock(&self.0);
        all.retain(|posts| Arc::strong_count(posts) > 1);
        if let Some(posts) = all.iter().find(|posts| *posts.hook == **hook) {
            return Arc::clone(posts);
        }
        let (posts, next_number) = (Mutex::default(), AtomicU64::new(0));
        all.push(Arc::new(HookPosts { hook: Arc::clone(hook), posts, next_number }));
        Arc::clone(all.last().expect("it was just pushed"))
    }
}

impl HookPosts {
    /// Seats a program beside others, or at a new post. Gives what the stub has missed.
    fn join(&self, number: u64, member: &Arc<Member>) -> Result<u64, LoadError> {
        let mut posts = lock(&self.posts);
        let seated = Seated { number, member: Arc::clone(member) };
        for post in posts.iter_mut() {
            let all = [post.seated.as_slice(), std::slice::from_ref(&seated)].concat();
            if !fusion::fits(&members(&all)) {
                continue;
            }
            match post.seat(all, &self.hook) {
                Ok(()) => return post.missed(),
                Err(error) => {
                    // Together they may be too much for this kernel, where each alone is not.
                    tracing::debug!(%error, hook = %self.hook, "a program gets a post of its own");
                }
            }
        }
        let post = Post::new(seated, &self.hook)?;
        let missed = post.missed();
        posts.push(post);
        missed
    }

    /// Lets a program go that sits at one of the posts; gives what its stub had missed then. `wait` returns when no CPU
    /// runs a program that began before.
    fn leave(&self, number: u64, wait: impl FnOnce()) -> Option<u64> {
        let mut posts = lock(&self.posts);
        let at = posts.iter().position(|post| post.holds(number))?;
        let post = &mut posts[at];
        if let [_] = post.seated.as_slice() {
            let mut post = posts.swap_remove(at);
            post.attachment = None;
            if self.hook.sampling.is_some() {
                wait();
            }
            return post.missed().ok();
        }
        let (gone, rest): (Vec<Seated>, Vec<Seated>) =
            post.seated.iter().cloned().partition(|seated| seated.number == number);
        if let Err(error) = post.seat(rest.clone(), &self.hook) {
            // It runs on, unheard, until the next one comes or goes.
            tracing::error!(%error, hook = %self.hook, "a program could not be taken out of those it is fused with");
            post.seated = rest;
            post.lingering.extend(gone.into_iter().map(|seated| seated.member));
        }
        wait();
        post.missed().ok()
    }
}

impl Post {
    fn new(seated: Seated, hook: &Arc<Hook>) -> Result<Post, LoadError> {
        let kind = MapKind::ProgramArray;
        let key_bytes = kind.key_bytes();
        let slot = Map::create(&MapSpec { kind, name: "slot", key_bytes, value_bytes: 4, entries: 1, inner: None })?;
        let name = format!("at_{}", hook.name);
        let function = Function { name: &name, insn: 0 };
        let stub = program::load(&[function], hook, &stub_insns(slot.as_fd()), &[])?;
        let program = fusion::load(&[Arc::clone(&seated.member)], hook)?;
        put(&slot, program.as_fd(), hook)?;
        let attachment = Some(attach::attach(stub.as_fd(), hook)?);
        Ok(Post { attachment, stub, slot, program, seated: vec![seated], lingering: Vec::new() })
    }

    /// From now on these run for every event; an error leaves those that did.
    fn seat(&mut self, seated: Vec<Seated>, hook: &Hook) -> Result<(), LoadError> {
        let program = fusion::load(&members(&seated), hook)?;
        put(&self.slot, program.as_fd(), hook)?;
        (self.program, self.seated) = (program, seated);
        self.lingering.clear();
        Ok(())
    }

    fn holds(&self, number: u64) -> bool {
        self.seated.iter().any(|seated| seated.number == number)
    }

    fn missed(&self) -> Result<u64, LoadError> {
        program::recursion_misses(self.stub.as_fd())
            .map_err(|source| LoadError::Refused { what: "say what a program missed".to_owned(), source })
    }
}

fn put(slot: &Map, program: BorrowedFd, hook: &Hook) -> Result<(), LoadError> {
    slot.put_held(0, program)
        .map_err(|source| LoadError::Refused { what: format!("put a program in its slot at {hook}"), source })
}

fn members(seated: &[Seated]) -> Vec<Arc<Member>> {
    seated.iter().map(|seated| Arc::clone(&seated.member)).collect()
}

impl Seat {
    /// Takes a seat for a program at the hook that it was made for: when this returns, it runs for every event.
    pub fn take(posts: &Posts, rings: &RingMap, member: Arc<Member>, hook: &Arc<Hook>) -> Result<Seat, LoadError> {
        let at = posts.at(hook);
        let number = at.next_number.fetch_add(1, Ordering::Relaxed);
        let mut seat = Seat { at, rings: rings.clone(), number, member, missed_before: None, missed: 0 };
        seat.attach()?;
        Ok(seat)
    }

    /// Takes it again, after it was given up. Taken already, it does nothing.
    pub fn attach(&mut self) -> Result<(), LoadError> {
        if self.missed_before.is_none() {
            self.missed_before = Some(self.at.join(self.number, &self.member)?);
        }
        Ok(())
    }

    /// Lets `member`, made for the same hook, run for every event from now on, in the place of what ran here.
    pub fn put(&mut self, member: Arc<Member>) -> Result<(), LoadError> {
        let mut posts = lock(&self.at.posts);
        if let Some(post) = posts.iter_mut().find(|post| post.holds(self.number)) {
            let mut all = post.seated.clone();
            let mine = all.iter_mut().find(|seated| seated.number == self.number);
            mine.expect("the post holds it").member = Arc::clone(&member);
            post.seat(all, &self.at.hook)?;
        }
        drop(posts);
        self.member = member;
        Ok(())
    }

    /// Gives it up; returns when no CPU runs its program.
    pub fn detach(&mut self) {
        let Some(before) = self.missed_before.take() else { return };
        let wait = || {
            if let Err(error) = self.rings.wait_for_programs() {
                tracing::warn!(%error, "could not wait for a program that was taken out; what it counts late is not seen");
            }
        };
        let missed = self.at.leave(self.number, wait);
        self.missed += missed.unwrap_or(before).saturating_sub(before);
    }

    /// Says whether it is taken.
    pub fn is_attached(&self) -> bool {
        self.missed_before.is_some()
    }

    /// Says whether this is a seat at `hook`.
    pub fn is_at(&self, hook: &Hook) -> bool {
        *self.at.hook == *hook
    }

    /// Events that the kernel kept from the post while the program sat there, because it was running already on that CPU.
    /// Of the moment in which it came to others, those that came just before it may be among them.
    pub fn missed(&self) -> std::io::Result<u64> {
        let now = match self.missed_before {
            None => 0,
            Some(before) => {
                let posts = lock(&self.at.posts);
                let post = posts.iter().find(|post| post.holds(self.number));
                let now = post.map(|post| program::recursion_misses(post.stub.as_fd())).transpose()?;
                now.unwrap_or(before).saturating_sub(before)
            }
        };
        Ok(self.missed + now)
    }

    /// What the kernel says about the post, of which the seat has its part.
    pub fn info(&self) -> std::io::Result<ProgramInfo> {
        let posts = lock(&self.at.posts);
        let Some(post) = posts.iter().find(|post| post.holds(self.number)) else {
            return Ok(ProgramInfo::default());
        };
        let stub = program::info(post.stub.as_fd(), &[post.slot.as_fd()])?;
        let seats = post.seated.len() as u64;
        Ok(ProgramInfo {
            id: program::info(post.program.as_fd(), &[])?.id,
            memory_bytes: stub.memory_bytes / seats,
            ..ProgramInfo::default()
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.detach();
    }
}

/// A panic while the kernel attaches leaves who sits where as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Jumps into the program in the slot; when there is none, leaves with R0 = 0.
fn stub_insns(slot: BorrowedFd) -> [Insn; 6] {
    const TAIL_CALL: i32 = 12;
    let insn = |code, dst, src, imm| Insn { code, dst, src, off: 0, imm };
    [
        // R1 is the context already.
        insn(LOAD_WIDE, 2, PSEUDO_MAP_FD, raw(slot).cast_signed()),
        Insn::default(),
        insn(0xb7, 3, 0, 0),
        insn(0x85, 0, 0, TAIL_CALL),
        insn(0xb7, 0, 0, 0),
        insn(0x95, 0, 0, 0),
    ]
}
