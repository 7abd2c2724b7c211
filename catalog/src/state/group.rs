//! Moves of pointers, several requests to a transaction.
//!
//! A transaction costs one sync of the disk, however many pointers it moves. So requests queue: the first that finds
//! nobody at it leads, takes all that wait (itself among them), makes one transaction of them and tells each how its own
//! went. Nobody waits for others to come: those that arrive during a sync make up the next transaction.
//!
//! A request that does not fit is left out, not the others with it. If the transaction fails, all who were in it are told
//! so, and each looks for itself what became of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::session::{Session, Value};
use super::{Kept, State, Swap, answers, unsynced};
use crate::error::{Error, Kind, Result};

/// Requests in one transaction, at most.
const MOST: usize = 64;

/// Who waits, and whether somebody leads.
#[derive(Debug, Default)]
pub struct Group {
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Arc<Request>>,
    led: bool,
}

#[derive(Debug)]
struct Request {
    swaps: Vec<Swap>,
    answer: Option<Arc<Kept>>,
    place: Mutex<Place>,
    told: Condvar,
}

/// Where a request stands.
#[derive(Debug)]
enum Place {
    Waits,
    Leads,
    Done(Result<bool>),
}

impl Request {
    fn tell(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
        self.told.notify_one();
    }

    /// Waits for its answer, or to lead (`None`).
    fn hear(&self) -> Option<Result<bool>> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match std::mem::replace(&mut *place, Place::Waits) {
                Place::Waits => place = self.told.wait(place).unwrap_or_else(PoisonError::into_inner),
                Place::Leads => return None,
                Place::Done(outcome) => return Some(outcome),
            }
        }
    }
}

impl Group {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A leader's turn; however it ends, those it led have an answer and the next leads.
struct Turn<'a> {
    group: &'a Group,
    requests: VecDeque<Arc<Request>>,
}

impl Turn<'_> {
    fn answer(&mut self, outcome: Result<bool>) {
        if let Some(request) = self.requests.pop_front() {
            request.tell(Place::Done(outcome));
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        while !self.requests.is_empty() {
            self.answer(Err(Error::new(Kind::Internal, "the transaction's leader ended without a word")));
        }
        let mut queue = self.group.queue();
        match queue.waiting.front() {
            // Each is woken for itself: of a hundred that wait, one can go on.
            Some(next) => next.tell(Place::Leads),
            None => queue.led = false,
        }
    }
}

impl State {
    /// Moves pointers, all or none; `false` if one of them is not where it was. This handle's answer is kept in the same
    /// transaction; a key that has one already is a conflict too.
    ///
    /// # Errors
    /// Database errors.
    pub fn swap(&self, swaps: &[Swap]) -> Result<bool> {
        let (place, told) = (Mutex::new(Place::Waits), Condvar::new());
        let request = Arc::new(Request { swaps: swaps.to_vec(), answer: self.answer.clone(), place, told });
        let mut queue = self.group.queue();
        queue.waiting.push_back(request.clone());
        let leads = !std::mem::replace(&mut queue.led, true);
        drop(queue);
        if !leads && let Some(outcome) = request.hear() {
            return outcome;
        }
        let mut queue = self.group.queue();
        let count = queue.waiting.len().min(MOST);
        let mut turn = Turn { group: &self.group, requests: queue.waiting.drain(..count).collect() };
        drop(queue);
        let requests: Vec<Arc<Request>> = turn.requests.iter().cloned().collect();
        self.lead(&requests, &mut turn);
        drop(turn);
        request.hear().unwrap_or_else(|| Err(Error::new(Kind::Internal, "a request led twice")))
    }

    fn lead(&self, requests: &[Arc<Request>], turn: &mut Turn<'_>) {
        // Each request brings its own answer; the leader's is not for all.
        let done = self.attempt(|session| {
            let answer = |request: &Arc<Request>| {
                let moved = take_in(session, request)?;
                if moved && self.is_embedded() {
                    request.swaps.iter().try_for_each(|swap| unsynced::follow(session, swap))?;
                }
                Ok(moved)
            };
            requests.iter().map(answer).collect::<Result<Vec<bool>>>()
        });
        match done {
            Ok(moved) => moved.into_iter().for_each(|moved| turn.answer(Ok(moved))),
            // One of them is at fault: each on its own.
            Err(error) if requests.len() > 1 && matches!(error.kind(), Kind::Invalid | Kind::Internal) => {
                requests.iter().for_each(|request| self.lead(std::slice::from_ref(request), turn));
            }
            Err(error) => {
                let (kind, text) = (error.kind(), error.to_string());
                let mut error = Some(error);
                for _ in requests {
                    turn.answer(Err(error.take().unwrap_or_else(|| Error::new(kind, text.clone()))));
                }
            }
        }
    }
}

/// Does what one request asks, or nothing.
fn take_in(session: &mut dyn Session, request: &Request) -> Result<bool> {
    if let ([swap], None) = (request.swaps.as_slice(), &request.answer) {
        return move_one(session, swap);
    }
    let free = request.answer.as_ref().map_or(Ok(true), |answer| answers::is_free(session, answer))?;
    let fits = request.swaps.iter().try_fold(free, |fits, swap| Ok::<_, Error>(fits && holds(session, swap)?))?;
    if !fits {
        return Ok(false);
    }
    for swap in &request.swaps {
        if !move_one(session, swap)? {
            return Err(Error::new(Kind::Internal, "a request moves one pointer twice").with("name", &swap.name));
        }
    }
    request.answer.as_ref().map_or(Ok(()), |answer| answers::keep(session, answer))?;
    Ok(true)
}

/// Whether a pointer is where a move needs it.
fn holds(session: &mut dyn Session, swap: &Swap) -> Result<bool> {
    let Swap { sort, namespace, name, from, .. } = swap;
    let held = "SELECT name FROM tables WHERE namespace = ?1 AND name = ?2 AND metadata_location = ?3 AND sort = ?4";
    let free = "SELECT name FROM namespaces WHERE name = ?1
                   AND NOT EXISTS (SELECT 1 FROM tables WHERE namespace = ?1 AND name = ?2)";
    let place: [Value<'_>; 2] = [namespace.into(), name.into()];
    let [first, second] = place;
    let found = match from {
        Some(from) => session.first(held, &[first, second, from.into(), sort.text().into()])?,
        None => session.first(free, &[first, second])?,
    };
    Ok(found.is_some())
}

fn move_one(session: &mut dyn Session, swap: &Swap) -> Result<bool> {
    let Swap { sort, namespace, name, from, to, .. } = swap;
    let changed = match from {
        Some(from) => session.execute(
            "UPDATE tables SET metadata_location = ?4 WHERE namespace = ?1 AND name = ?2 AND metadata_location = ?3
               AND sort = ?5",
            &[namespace.into(), name.into(), from.into(), to.into(), sort.text().into()],
        ),
        // Nothing is inserted where the namespace has gone.
        None => session.execute(
            "INSERT INTO tables (namespace, name, metadata_location, sort)
             SELECT name, ?2, ?3, ?4 FROM namespaces WHERE name = ?1 ON CONFLICT DO NOTHING",
            &[namespace.into(), name.into(), to.into(), sort.text().into()],
        ),
    };
    Ok(changed? == 1)
}
