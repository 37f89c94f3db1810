// "Sync now": starts a run, and waits for its end as long as a page does.

import { json, requestId, type RequestEvent } from "../../app.js";
import type { Docket } from "../../docket/client.js";
import { shown } from "../../shown.js";
import { isFinal, outcome } from "../../sync.js";

// Below what proxies allow a request.
const WAIT_S = 25;

// `pressId` is made by the button: pressing it twice in a row, or a repeat of the request, starts one run. While a sync
// is under way already, that one is waited for.
export async function POST({ request, locals: { user, docket } }: RequestEvent): Promise<Response> {
  const { pressId } = (await request.json()) as { pressId: string };
  const scheduleId = user.mailboxId;
  try {
    const { run } = await docket.schedules.triggerSchedule({ scheduleId, requestId: requestId(user, pressId) });
    return await waited(docket, scheduleId, run!.runId);
  } catch (error) {
    return shown(error);
  }
}

// Goes on waiting: the page asks until the answer is not 202.
export async function GET({ url, locals: { user, docket } }: RequestEvent): Promise<Response> {
  try {
    return await waited(docket, user.mailboxId, url.searchParams.get("run") ?? "");
  } catch (error) {
    return shown(error);
  }
}

async function waited(docket: Docket, scheduleId: string, runId: string): Promise<Response> {
  const wait = { seconds: BigInt(WAIT_S) };
  const { run } = await docket.runs.getRun({ runId, wait }, { timeoutMs: (WAIT_S + 5) * 1000 });
  // Ids of runs cannot be guessed; this holds also where one leaks.
  if (run!.scheduleId !== scheduleId) return json({ reason: "RUN_NOT_FOUND", text: "There is no such sync." }, 404);
  return isFinal(run!.state) ? json(outcome(run!)) : json({ run: runId }, 202);
}
