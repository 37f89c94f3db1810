// The settings page of a schedule, on real services.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { GET, PUT } from "../src/routes/settings/schedule/+server.js";
import { PUT as SWITCH } from "../src/routes/settings/schedule/pause/+server.js";
import { POST as PREVIEW } from "../src/routes/settings/schedule/preview/+server.js";
import { ANNA, App } from "./app.js";

let app: App;
before(async () => (app = await App.start()));
after(() => app.stop());

let users = 0;
const somebody = () => ({ user: { ...ANNA, mailboxId: `mb-${++users}` } });
const NIGHTLY = { times: ["02:00"], weekdays: [], zone: "Europe/Berlin" };
const OFFICE = { times: ["08:00", "17:30"], weekdays: [1, 2, 3, 4, 5], zone: "America/New_York" };

test("what is saved is read back from Docket, in the form's own words", async () => {
  const user = somebody();
  assert.equal((await app.call(GET, undefined, user)).body.reason, "SCHEDULE_NOT_FOUND");
  let etag = "";
  for (const [n, form] of [NIGHTLY, OFFICE].entries()) {
    const saved = await app.call(PUT, { form, etag, saveId: `s${n}` }, user);
    assert.equal(saved.status, 200, JSON.stringify(saved));
    const read = await app.call(GET, undefined, user);
    assert.deepEqual(read.body.form, form);
    assert.equal(read.body.etag, saved.body.etag);
    etag = read.body.etag;
    assert.ok(Date.parse(read.body.next) > Date.now());
    assert.equal(read.body.last, undefined);
  }
});

test("a request that comes twice saves once, and another one under its id is refused", async () => {
  const user = somebody();
  const save = { form: NIGHTLY, etag: "", saveId: "s1" };
  const first = await app.call(PUT, save, user);
  await app.call(PUT, { form: OFFICE, etag: first.body.etag, saveId: "s2" }, user);
  // Late, from a proxy that repeats: OFFICE stays.
  assert.equal((await app.call(PUT, save, user)).status, 200);
  assert.deepEqual((await app.call(GET, undefined, user)).body.form, OFFICE);
  const reused = await app.call(PUT, { ...save, form: OFFICE }, user);
  assert.deepEqual([reused.status, reused.body.reason], [409, "REQUEST_ID_REUSED"]);
});

test("of two tabs the second is shown both versions, and may then save its own", async () => {
  const user = somebody();
  const { etag } = (await app.call(PUT, { form: NIGHTLY, etag: "", saveId: "s1" }, user)).body;
  await app.call(PUT, { form: OFFICE, etag, saveId: "s2" }, user);
  const mine = { ...NIGHTLY, times: ["03:00"] };
  const { status, body } = await app.call(PUT, { form: mine, etag, saveId: "s3" }, user);
  assert.deepEqual([status, body.reason], [409, "ETAG_MISMATCH"]);
  assert.deepEqual([body.yours, body.theirs.form], [mine, OFFICE]);
  const again = await app.call(PUT, { form: mine, etag: body.theirs.etag, saveId: "s4" }, user);
  assert.deepEqual([again.status, again.body.form], [200, mine]);
});

test("a mistake is shown at its place in the form", async () => {
  for (const [form, field] of [
    [{ ...NIGHTLY, zone: "Europe/Brelin" }, "zone"],
    [{ ...NIGHTLY, times: ["02:00", "25:00"] }, "times[1]"],
    [{ ...NIGHTLY, times: [] }, "times"],
  ] as const) {
    for (const endpoint of [PREVIEW, PUT]) {
      const body = endpoint === PUT ? { form, etag: "", saveId: "s1" } : form;
      const answer = await app.call(endpoint, body, somebody());
      assert.deepEqual([answer.status, answer.body.reason], [422, "INVALID_FIELD"], JSON.stringify(answer));
      assert.deepEqual(answer.body.fields.map((marked: { field: string }) => marked.field), [field]);
    }
  }
});

test("a preview tells the next times and saves nothing", async () => {
  const user = somebody();
  const preview = await app.call(PREVIEW, { ...NIGHTLY, zone: "UTC" }, user);
  assert.equal(preview.status, 200);
  assert.equal(preview.body.times.length, 5);
  for (const time of preview.body.times) assert.match(time, /T02:00:00.000Z$/);
  assert.equal((await app.call(GET, undefined, user)).status, 404);
});

test("a page that was filled in when there was no schedule overwrites none", async () => {
  const user = somebody();
  const first = await app.call(PUT, { form: NIGHTLY, etag: "", saveId: "s1" }, user);
  const repeated = await app.call(PUT, { form: NIGHTLY, etag: "", saveId: "s1" }, user);
  assert.deepEqual([repeated.status, repeated.body.etag], [200, first.body.etag]);
  const { status, body } = await app.call(PUT, { form: OFFICE, etag: "", saveId: "s2" }, user);
  assert.deepEqual([status, body.reason, body.theirs.etag], [409, "SCHEDULE_EXISTS", first.body.etag]);
});

test("switched off it has no next time; switched on it has, and the etag follows", async () => {
  const user = somebody();
  const saved = await app.call(PUT, { form: NIGHTLY, etag: "", saveId: "s1" }, user);
  const off = await app.call(SWITCH, { on: false, pressId: "r1" }, user);
  assert.equal(off.status, 200);
  assert.notEqual(off.body.etag, saved.body.etag);
  const page = await app.call(GET, undefined, user);
  assert.deepEqual([page.body.paused, page.body.pausedBecause], [true, "switched off in the settings"]);
  const on = await app.call(SWITCH, { on: true, pressId: "r2" }, user);
  assert.equal(on.body.next, saved.body.next);
  assert.equal((await app.call(GET, undefined, user)).body.paused, false);
});
