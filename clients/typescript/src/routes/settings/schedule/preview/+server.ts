// The next times, while the user still fills in the form. Saves nothing.

import { json, type RequestEvent } from "../../../../app.js";
import { type Form, toSchedule } from "../../../../form.js";
import { shown } from "../../../../shown.js";
import { iso } from "../../../../sync.js";

export async function POST({ request, locals: { user, docket } }: RequestEvent): Promise<Response> {
  const form = (await request.json()) as Form;
  try {
    // A form that has changed meanwhile aborts its request, and that the call.
    const { signal } = request;
    const preview = await docket.schedules.previewSchedule({ schedule: toSchedule(user, form), count: 5 }, { signal });
    return json({ times: preview.fireTimes.map(iso), notes: preview.notes.map((note) => note.text) });
  } catch (error) {
    return shown(error);
  }
}
