// Makes and changes elements. Text is only ever set as text, so that markup in a product's name stays visible.

/** An element: `h('p', { className: 'note' }, 'text', child)`; names with a dash, `role` and `scope` become attributes. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-') || name === 'role' || name === 'scope') element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}

/** Changes a text only if it differs, so that nothing is laid out or said again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Says something to screen readers. */
export function announce(text) {
  setText(document.getElementById('announcements'), text);
}

const WHOLE = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

export const count = number => WHOLE.format(number);

/** A number for a tile: 812, 12,400, 1.2M. */
export const short = number => number < 100_000 ? WHOLE.format(number) : SHORT.format(number);

/** A rate: 0, 0.4, 12, 3,400. */
export const rate = number => number > 0 && number < 9.95 && !Number.isInteger(number) ? number.toFixed(1) : WHOLE.format(number);

/** Milliseconds with as many digits as are of use. */
export function millis(number) {
  if (number === null || number === undefined) return '–';
  if (number >= 1000) return `${(number / 1000).toFixed(1)} s`;
  return `${number < 9.95 ? number.toFixed(1) : WHOLE.format(number)} ms`;
}

/** Seconds as people say them: 0.8 s, 3 s, 42 s, 3 min 5 s, 2 h 10 min, 4 d. */
export function seconds(number) {
  if (number < 9.95 && !Number.isInteger(number)) return `${number.toFixed(1)} s`;
  const whole = Math.round(number);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor(whole / 60) % 60} min`;
  return `${SHORT.format(Math.floor(whole / 86_400))} d`;
}

export const clock = time => new Date(time).toLocaleTimeString('en-GB');
