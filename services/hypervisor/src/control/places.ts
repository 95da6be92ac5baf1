/** From which containers guests have joined: one container is one guest, or one whose code was replaced could be all. */
import { placeOf } from '@grantline/xen';
import { nowNs } from '@grantline/base';

/** A service that joins shows its place right before. */
const LIFE_NS = 10e9;
/** Shown and not used, of one place; the oldest makes room. */
const EACH_MAX = 4;
/** Of all: more than there can be guests. */
const ALL_MAX = 256;

export class Places {
  private readonly shown = new Map<string, { place: string; untilNs: number }>();
  private readonly now: () => number;

  constructor(now = nowNs) {
    this.now = now;
  }

  /** @param fd stays the caller's */
  show(name: string, fd: number): void {
    const place = placeOf(fd);
    if (place === null) return;
    for (const [old, { untilNs }] of this.shown) if (untilNs <= this.now()) this.shown.delete(old);
    const same = [...this.shown].filter(([, s]) => s.place === place);
    if (same.length >= EACH_MAX) this.shown.delete(same[0][0]);
    if (this.shown.size < ALL_MAX && !this.shown.has(name))
      this.shown.set(name, { place, untilNs: this.now() + LIFE_NS });
  }

  /** Once. @returns where the process is that has shown that name; null: none has */
  take(name: string): string | null {
    const found = this.shown.get(name);
    this.shown.delete(name);
    return found !== undefined && found.untilNs > this.now() ? found.place : null;
  }
}
