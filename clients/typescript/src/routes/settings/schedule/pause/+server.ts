// The switch "fetch my documents": off pauses, on resumes and makes up for the latest time that was missed.

import { json, requestId, type RequestEvent } from "../../../../app.js";
import { shown } from "../../../../shown.js";
import { iso } from "../../../../sync.js";

type Switch = { on: boolean; pressId: string };

export async function PUT({ request, locals: { user, docket } }: RequestEvent): Promise<Response> {
  const { on, pressId } = (await request.json()) as Switch;
  const which = { scheduleId: user.mailboxId, requestId: requestId(user, pressId) };
  try {
    const { schedule } = on
      ? await docket.schedules.resumeSchedule({ ...which, catchUp: true })
      : await docket.schedules.pauseSchedule({ ...which, note: "switched off in the settings" });
    return json({ on, etag: schedule!.etag, next: iso(schedule!.nextTime) });
  } catch (error) {
    return shown(error);
  }
}
