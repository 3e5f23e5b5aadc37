// Makes and changes elements. Text is only ever set as text, so that markup in a product's name stays visible.

/** An element: `h('p', { className: 'lead' }, 'text', child)`; names with a dash or `role` become attributes. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-') || name === 'role' || name === 'for') element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}

/** A button; `aria-disabled` instead of `disabled`, so that it keeps the focus and can say why it does nothing. */
export function button(text, className, onClick) {
  return h('button', { type: 'button', className, onclick: onClick }, text);
}

/** A picture of the page's own sheet. */
export function picture(name) {
  const namespace = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(namespace, 'svg');
  const use = document.createElementNS(namespace, 'use');
  use.setAttribute('href', `#art-${name}`);
  svg.append(use);
  return svg;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Says something to screen readers, after what they are saying now. */
export function announce(text) {
  const region = document.getElementById('announcements');
  // The same text twice in a row would not be said again.
  region.textContent = region.textContent === text ? `${text}\u00a0` : text;
}

/** Minor units as people write money. */
export function money(amount, currency) {
  const format = new Intl.NumberFormat(undefined, { style: 'currency', currency });
  return format.format(amount / 10 ** format.resolvedOptions().maximumFractionDigits);
}

export function count(number) {
  return new Intl.NumberFormat().format(number);
}

/** A countdown: 1:05, 2:03:09, 3 d 4 h. */
export function duration(milliseconds) {
  const seconds = Math.max(Math.ceil(milliseconds / 1000), 0);
  const [days, hours, minutes] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days > 0) return `${days} d ${hours} h`;
  const two = number => String(number).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

export function dateTime(time) {
  return new Date(time).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
}

export function clock(time) {
  return new Date(time).toLocaleTimeString(undefined, { timeStyle: 'short' });
}

/** A reference in groups, as people read it aloud; the service finds it in this form too. */
export function grouped(reference) {
  return reference.replace(/^FS-/, '').replace(/.{4}(?=.)/g, '$&-').replace(/^/, 'FS-');
}
