// Follows what changes (docs/events.md), so that each event is applied to the app's own database once, however often
// the stream breaks or this process is killed: events and the cursor after them are saved in one transaction.

import { setTimeout as sleep } from "node:timers/promises";
import type { Event } from "../../gen/docket/schedule/v1/event_pb.js";
import type { Schedule } from "../../gen/docket/schedule/v1/schedule_pb.js";
import type { Docket } from "./client.js";
import { passes } from "./errors.js";

// The app's database. `apply` and `replace` are one transaction each, with the cursor in it.
export type Mirror = {
  // Of the last transaction; nothing before the first.
  cursor(): Promise<string | undefined>;
  apply(events: Event[], cursor: string): Promise<void>;
  // Events were missed, or it begins: this is the state now. What became of runs meanwhile, ListRuns tells.
  replace(schedules: Schedule[], cursor: string): Promise<void>;
};

const PAUSE_MS = { first: 100, longest: 10_000 };

// Until `signal`. Throws what does not pass by itself, and what the mirror throws.
export async function follow(docket: Docket, mirror: Mirror, signal: AbortSignal): Promise<void> {
  for (let pause = PAUSE_MS.first; ; pause = Math.min(pause * 2, PAUSE_MS.longest)) {
    const cursor = await mirror.cursor();
    const stream = docket.runs.watchEvents({ cursor: cursor ?? "" }, { signal, timeoutMs: 0 });
    const messages = stream[Symbol.asyncIterator]();
    for (let begin = cursor === undefined; ; begin = false) {
      const next = await messages.next().catch((error: unknown) => broken(error, signal));
      if (!next || next.done) break;
      const { events, reset, cursor } = next.value;
      // The first message and one with `reset` hold no events: from their cursor on nothing escapes.
      if (begin || reset) await mirror.replace(await schedules(docket), cursor);
      else await mirror.apply(events, cursor);
      pause = PAUSE_MS.first;
    }
    if (signal.aborted) return;
    await sleep(pause * (0.5 + Math.random()), undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
  }
}

function broken(error: unknown, signal: AbortSignal): undefined {
  if (!signal.aborted && !passes(error)) throw error;
}

async function schedules(docket: Docket): Promise<Schedule[]> {
  const all: Schedule[] = [];
  for (let pageToken = ""; ; ) {
    const page = await docket.schedules.listSchedules({ pageSize: 1000, pageToken });
    all.push(...page.schedules);
    if (page.nextPageToken === "") return all;
    pageToken = page.nextPageToken;
  }
}
