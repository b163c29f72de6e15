// At most two requests at a time, and none while the service asks to wait.

const AT_ONCE = 2;
const LONGEST_WAIT_S = 120;

export class Queue {
  constructor(changed = () => {}) {
    this.waiting = [];
    this.running = 0;
    this.until = 0;
    this.changed = changed;
  }

  // Runs `task` when there is room. A task that throws Busy is run again after its seconds.
  add(task, { first = false } = {}) {
    const entry = { task, cancelled: false };
    const done = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
    if (first) this.waiting.unshift(entry);
    else this.waiting.push(entry);
    this.next();
    return { done, cancel: () => this.cancel(entry) };
  }

  cancel(entry) {
    entry.cancelled = true;
    const at = this.waiting.indexOf(entry);
    if (at >= 0) {
      this.waiting.splice(at, 1);
      entry.reject(new DOMException("cancelled", "AbortError"));
    }
  }

  pause(seconds) {
    const wait = Math.min(Math.max(seconds, 1), LONGEST_WAIT_S) * 1000;
    this.until = Math.max(this.until, Date.now() + wait);
    this.changed();
    setTimeout(() => this.next(), wait + 5);
  }

  get idle() {
    return this.running === 0 && this.waiting.length === 0;
  }

  next() {
    if (Date.now() < this.until) return;
    if (this.until) {
      this.until = 0;
      this.changed();
    }
    while (this.running < AT_ONCE && this.waiting.length) this.run(this.waiting.shift());
  }

  async run(entry) {
    this.running += 1;
    try {
      entry.resolve(await entry.task());
    } catch (error) {
      if (error.retryAfter === undefined || entry.cancelled) entry.reject(error);
      else {
        this.waiting.unshift(entry);
        this.pause(error.retryAfter);
      }
    } finally {
      this.running -= 1;
      this.next();
    }
  }
}
