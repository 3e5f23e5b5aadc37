// Fetches and compiles the page's scripts once its first frame is painted: they would delay it.

const later = document.getElementById('later');
// What was appended is gone from the template, so the second call does nothing.
const start = () => document.head.append(later.content);
new PerformanceObserver(start).observe({ type: 'paint', buffered: true });
// A tab in the background draws no frame.
setTimeout(start, 200);
