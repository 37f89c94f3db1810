// Events are applied once each, through cut connections and a killed scheduler.

import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { test } from "node:test";
import { type Event, EventType } from "../gen/docket/schedule/v1/event_pb.js";
import type { Schedule } from "../gen/docket/schedule/v1/schedule_pb.js";
import { connect, type Docket } from "../src/docket/client.js";
import { follow, type Mirror } from "../src/docket/events.js";
import { Proxy, Services } from "./harness.js";

// The app's database: what it believes, and each event that it ever applied.
class Table extends EventEmitter implements Mirror {
  saved: string | undefined;
  readonly schedules = new Map<string, Schedule>();
  readonly applied: Event[] = [];
  replaced = 0;

  async cursor() {
    return this.saved;
  }

  async apply(events: Event[], cursor: string) {
    for (const event of events) {
      this.applied.push(event);
      const { type, schedule } = event;
      if (type === EventType.SCHEDULE_DELETED) this.schedules.delete(schedule!.scheduleId);
      else if (schedule) this.schedules.set(schedule.scheduleId, schedule);
    }
    this.saved = cursor;
    this.emit("saved");
  }

  async replace(schedules: Schedule[], cursor: string) {
    this.schedules.clear();
    for (const schedule of schedules) this.schedules.set(schedule.scheduleId, schedule);
    this.replaced++;
    this.saved = cursor;
    this.emit("saved");
  }

  async until(condition: () => boolean) {
    while (!condition()) await once(this, "saved", { signal: AbortSignal.timeout(60_000) });
  }
}

async function save(docket: Docket, scheduleId: string) {
  await docket.schedules.upsertSchedule({
    schedule: {
      scheduleId,
      timing: { case: "cron", value: { expressions: ["0 2 * * *"] } },
      task: { kind: "document-sync" },
    },
  });
}

test("each event once, however often the connection breaks", async () => {
  const services = new Services();
  const scheduler = await services.start("scheduler-svc");
  const proxy = await Proxy.to(scheduler.port);
  const direct = connect({ scheduler: scheduler.grpc, library: scheduler.grpc });
  const table = new Table();
  const stop = new AbortController();
  const following = follow(connect({ scheduler: proxy.url, library: proxy.url }), table, stop.signal);
  try {
    await table.until(() => table.replaced === 1);
    for (let round = 0; round < 10; round++) {
      // Some of these are sent before the cut, some during it, some after.
      const saving = Array.from({ length: 20 }, (_, n) => save(direct, `s-${round}-${n}`));
      await saving[round];
      proxy.cut();
      await Promise.all(saving);
      await table.until(() => table.schedules.size === 20 * (round + 1));
    }
    assert.equal(table.replaced, 1);
    assert.equal(table.applied.length, 200);
    assert.equal(new Set(table.applied.map((event) => event.cursor)).size, 200);
  } finally {
    stop.abort();
    await following;
    proxy.close();
    await services.close();
  }
});

test("after a restart of the scheduler state is read anew", async () => {
  const services = new Services();
  const first = await services.start("scheduler-svc");
  const proxy = await Proxy.to(first.port);
  const docket = connect({ scheduler: proxy.url, library: proxy.url });
  const table = new Table();
  const stop = new AbortController();
  const following = follow(docket, table, stop.signal);
  try {
    await table.until(() => table.replaced === 1);
    await save(docket, "s-1");
    await table.until(() => table.schedules.size === 1);
    await first.kill();
    const second = await services.start("scheduler-svc");
    // Nobody is told of these two: they happen before the stream is back.
    const direct = connect({ scheduler: second.grpc, library: second.grpc });
    await save(direct, "s-2");
    await direct.schedules.deleteSchedule({ scheduleId: "s-1" });
    proxy.target = second.port;
    await table.until(() => table.replaced === 2);
    assert.deepEqual([...table.schedules.keys()], ["s-2"]);
    await save(docket, "s-3");
    await table.until(() => table.schedules.size === 2);
  } finally {
    stop.abort();
    await following;
    proxy.close();
    await services.close();
  }
});
