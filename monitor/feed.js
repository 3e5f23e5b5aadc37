// The stream of snapshots. A lost connection is noticed by its error or by silence, and made again for as long as
// the page is open: after a restart of the service, a pause of the machine, or while too many others watch.

/** A snapshot comes every second; a stream that is silent for longer is dead, although no error says so. */
const SILENT_AFTER = 6_000;
const RETRY = 2_000;
/** A snapshot that was on its way for longer than the fastest one, by this much, is of no use as it is. */
const LATE = 5_000;

/**
 * Follows the stream. `on.history(points)`, `on.snapshot(snapshot)`, `on.lost(since)`, `on.late(seconds)`, `on.back()`.
 * @returns {() => void} ends it
 */
export function follow(address, on) {
  let source = null;
  let retry = null;
  let heard = Date.now();
  let lostSince = null;
  let isLate = false;
  /** Between the clocks of the service and of the browser: that of the fastest snapshot of this connection. */
  let offset = Infinity;

  function lost() {
    lostSince ??= new Date();
    on.lost(lostSince);
  }

  function open() {
    retry = null;
    heard = Date.now();
    offset = Infinity;
    source = new EventSource(address);
    source.addEventListener('history', event => on.history(JSON.parse(event.data)));
    source.addEventListener('snapshot', event => {
      heard = Date.now();
      const snapshot = JSON.parse(event.data);
      offset = Math.min(offset, heard - Date.parse(snapshot.at));
      const age = heard - Date.parse(snapshot.at) - offset;
      if (age < LATE && (lostSince || isLate)) on.back();
      lostSince = null;
      isLate = age >= LATE;
      on.snapshot(snapshot);
      if (isLate) on.late(age / 1_000);
    });
    source.addEventListener('error', () => { lost(); again(); });
  }

  // The browser gives up for good when an answer is an error, so the page opens each new stream itself.
  function again() {
    source?.close();
    source = null;
    retry ??= setTimeout(open, RETRY * (0.5 + Math.random()));
  }

  const watch = setInterval(() => {
    if (source && Date.now() - heard > SILENT_AFTER) { lost(); again(); }
  }, 1_000);
  open();
  return () => { clearInterval(watch); clearTimeout(retry); source?.close(); };
}
