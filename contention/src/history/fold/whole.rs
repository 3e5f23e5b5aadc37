//! What concerns all sessions together: the units, the order of the waitlist, and the reading.

use super::{After, Answer, Contradiction, History, Kind, OrderSeen, Request, Step, read};

/// Nobody is served who joined the waitlist after somebody who waits still.
pub(super) fn overtaken(history: &History, steps: &[Step]) -> Result<(), Contradiction> {
    let reading = &history.reading;
    let joins = || {
        steps
            .iter()
            .filter(|step| matches!(step.kind, Kind::Join(_)))
    };
    let waits = |step: &&Step| {
        reading
            .waiting
            .iter()
            .any(|(session, _)| *session == step.session)
    };
    let served = |step: &&Step| {
        let mut orders = reading.orders.iter();
        orders.any(|order| order.session == Some(step.session))
    };
    let Some(first) = joins().filter(waits).min_by_key(|step| step.end) else {
        return Ok(());
    };
    let later = joins().filter(served).find(|step| step.start > first.end);
    later.map_or(Ok(()), |later| {
        let (first, later) = ((first.session, &first.calls), (later.session, &later.calls));
        Err(Contradiction {
            reason: "a place on the waitlist was overtaken".to_owned(),
            calls: first.1.iter().chain(later.1).copied().collect(),
            read: vec![
                format!("s{} waits still", first.0),
                format!("s{} was served", later.0),
            ],
        })
    })
}

/// The units add up, whatever the order of the operations.
pub(super) fn units(history: &History) -> Result<(), Contradiction> {
    let reading = &history.reading;
    let live = reading.orders.iter().filter(|order| is_live(order));
    let sold: i64 = live.map(|order| order.quantity).sum();
    let (stock, total) = (reading.stock, reading.total);
    if stock < 0 || sold > total {
        let reason = format!("oversold: {sold} units in live orders, {total} in all, {stock} left");
        return Err(read(reason));
    }
    if total - stock != sold {
        let reason = format!("{total} units in all, {stock} left, but {sold} in live orders");
        return Err(read(reason));
    }
    let restocks = |is: fn(&Answer) -> bool| {
        let calls = history.calls.iter().filter(move |call| is(&call.answer));
        calls.filter_map(|call| match call.request {
            Request::Restock(quantity) => Some(quantity),
            _ => None,
        })
    };
    let mut totals =
        vec![history.terms.stock + restocks(|answer| *answer == Answer::Restocked).sum::<i64>()];
    for unknown in restocks(|answer| matches!(answer, Answer::Unknown(_))) {
        let with: Vec<i64> = totals.iter().map(|total| total + unknown).collect();
        totals.extend(with);
        totals.sort_unstable();
        totals.dedup();
    }
    if !totals.contains(&total) {
        return Err(read(format!(
            "{total} units in all, but the answers of the restocks add up to {totals:?}"
        )));
    }
    Ok(())
}

fn is_live(order: &OrderSeen) -> bool {
    !matches!(order.status.as_str(), "cancelled" | "expired")
}

/// The reading itself.
pub(super) fn reading(history: &History) -> Result<Step, Contradiction> {
    let reading = &history.reading;
    let mut waiting = reading.waiting.clone();
    waiting.sort_by_key(|(_, position)| *position);
    if !(1..)
        .zip(&waiting)
        .all(|(place, (_, position))| place == *position)
    {
        return Err(read(format!("the positions have gaps: {waiting:?}")));
    }
    Ok(Step {
        kind: Kind::Reading {
            stock: reading.stock,
            total: reading.total,
            waiting: waiting.into_iter().map(|(session, _)| session).collect(),
        },
        session: usize::MAX,
        start: reading.start,
        end: reading.end,
        is_required: true,
        after: After::Nothing,
        calls: Vec::new(),
        hint: 0,
        position: 0,
    })
}
