// Calls while the scheduler is away for a moment, and for longer.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../src/docket/client.js";
import { passes, refusal } from "../src/docket/errors.js";
import { shown } from "../src/shown.js";
import { Proxy, Services } from "./harness.js";

test("a broken connection is tried again, a refusal is not", async () => {
  const services = new Services();
  const scheduler = await services.start("scheduler-svc");
  const proxy = await Proxy.to(scheduler.port);
  const docket = connect({ scheduler: proxy.url, library: proxy.url });
  try {
    proxy.refuse = 2;
    const timing = { case: "cron" as const, value: { expressions: ["0 2 * * *"] } };
    const preview = await docket.schedules.previewSchedule({ schedule: { timing } });
    assert.equal(preview.fireTimes.length, 10);
    assert.equal(proxy.refuse, 0);
    const error = await docket.schedules.getSchedule({ scheduleId: "s" }).catch((error: unknown) => error);
    assert.equal(refusal(error).reason, "SCHEDULE_NOT_FOUND");
    assert.equal(passes(error), false);
  } finally {
    proxy.close();
    await services.close();
  }
});

test("without a scheduler the user is asked to try again", async () => {
  const proxy = await Proxy.to(1);
  const docket = connect({ scheduler: proxy.url, library: proxy.url });
  try {
    const error = await docket.schedules.getSchedule({ scheduleId: "s" }).catch((error: unknown) => error);
    assert.deepEqual([refusal(error).reason, passes(error)], ["", true]);
    assert.equal(shown(error).status, 503);
  } finally {
    proxy.close();
  }
});
