// The settings page of a schedule: read it, save it.

import type { Schedule } from "../../../../gen/docket/schedule/v1/schedule_pb.js";
import { ScheduleState } from "../../../../gen/docket/schedule/v1/schedule_pb.js";
import { json, requestId, type RequestEvent } from "../../../app.js";
import { refusal } from "../../../docket/errors.js";
import { type Form, toForm, toSchedule } from "../../../form.js";
import { shown } from "../../../shown.js";
import { iso, lastSync } from "../../../sync.js";

export async function GET({ locals: { user, docket } }: RequestEvent): Promise<Response> {
  try {
    const { schedule } = await docket.schedules.getSchedule({ scheduleId: user.mailboxId });
    return json(page(schedule!));
  } catch (error) {
    return shown(error);
  }
}

// `etag` is that of the page which was filled in; empty when there was no schedule. `saveId` is made anew for each press
// of the button, so that a repeat of the request changes nothing twice.
type Save = { form: Form; etag: string; saveId: string };

export async function PUT({ request, locals: { user, docket } }: RequestEvent): Promise<Response> {
  const { form, etag, saveId } = (await request.json()) as Save;
  try {
    const schedule = toSchedule(user, form);
    const saved = await docket.schedules.upsertSchedule({ schedule, etag, createOnly: etag === "", requestId: requestId(user, saveId) });
    // For whoever runs the app, as in "no connected worker takes kind …".
    for (const { code, message } of saved.warnings) console.warn(`schedule ${user.mailboxId}: ${code}: ${message}`);
    return json(page(saved.schedule!));
  } catch (error) {
    if (!["ETAG_MISMATCH", "SCHEDULE_EXISTS"].includes(refusal(error).reason)) return shown(error);
    // Both are shown. Saving again, with the new etag, is the user's decision.
    const { schedule } = await docket.schedules.getSchedule({ scheduleId: user.mailboxId });
    return shown(error, { yours: form, theirs: page(schedule!) });
  }
}

function page(schedule: Schedule) {
  return {
    form: toForm(schedule),
    etag: schedule.etag,
    paused: schedule.state === ScheduleState.PAUSED,
    pausedBecause: schedule.pause?.note ?? "",
    next: iso(schedule.nextTime),
    last: lastSync(schedule),
  };
}
