// "Sync now", on real services and sample mails.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { PUT } from "../src/routes/settings/schedule/+server.js";
import { GET as PAGE } from "../src/routes/settings/schedule/+server.js";
import { PUT as SWITCH } from "../src/routes/settings/schedule/pause/+server.js";
import { GET, POST } from "../src/routes/sync/+server.js";
import { ANNA, App } from "./app.js";

let app: App;
before(async () => {
  app = await App.start();
  const source = { case: "folder", value: { path: "anna" } } as const;
  await app.docket.mailboxes.connectMailbox({ mailbox: { mailboxId: ANNA.mailboxId, owner: ANNA.id, source } });
  await app.call(PUT, { form: { times: ["02:00"], weekdays: [], zone: "Europe/Berlin" }, etag: "", saveId: "s1" });
});
after(() => app.stop());

// As the page does: asks until it is no 202.
async function syncNow(pressId: string) {
  let answer = await app.call(POST, { pressId });
  while (answer.status === 202) answer = await app.call(GET, undefined, { query: `?run=${answer.body.run}` });
  return answer;
}

test("sync now waits for the end, counts what is new, and shows on the settings page", async () => {
  const first = await syncNow("r1");
  assert.equal(first.status, 200, JSON.stringify(first));
  const { documents } = await app.docket.documents.listDocuments({ filter: { owner: ANNA.id } });
  assert.ok(documents.length > 0);
  assert.deepEqual([first.body.ok, first.body.documentsNew], [true, documents.length]);
  assert.deepEqual((await app.call(PAGE)).body.last, first.body);
  // The same press again is the same run; another press is another run, and finds nothing new.
  assert.deepEqual((await syncNow("r1")).body, first.body);
  const second = await syncNow("r2");
  assert.notEqual(second.body.run, first.body.run);
  assert.deepEqual([second.body.ok, second.body.documentsNew], [true, 0]);
});

test("nobody sees another user's sync", async () => {
  const { run } = (await syncNow("r3")).body;
  const eve = { user: { ...ANNA, id: "eve", mailboxId: "mb-eve" }, query: `?run=${run}` };
  assert.equal((await app.call(GET, undefined, eve)).status, 404);
});

test("what is switched off is not synced, and the user is told so", async () => {
  await app.call(SWITCH, { on: false, pressId: "r4" });
  const answer = await app.call(POST, { pressId: "r5" });
  assert.deepEqual([answer.status, answer.body.reason], [409, "SCHEDULE_PAUSED"]);
  await app.call(SWITCH, { on: true, pressId: "r6" });
});
