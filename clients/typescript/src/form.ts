// The form "when shall we fetch your documents?", to a schedule and back. Docket is the record of the schedule: the form
// is read from it, and the app keeps no copy.

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Schedule, ScheduleSchema } from "../gen/docket/schedule/v1/schedule_pb.js";
import type { User } from "./app.js";

export type Form = {
  // Wall times, as in "02:00".
  times: string[];
  // 0 = Sunday … 6; empty = every day.
  weekdays: number[];
  // IANA name: Intl.DateTimeFormat().resolvedOptions().timeZone in the browser.
  zone: string;
};

// All that users set is replaced when it is saved, so all of it is here.
export function toSchedule(user: User, form: Form): MessageInitShape<typeof ScheduleSchema> {
  return {
    scheduleId: user.mailboxId,
    timing: { case: "cron", value: { expressions: form.times.map((time) => cron(time, form.weekdays)), timeZone: form.zone } },
    task: { kind: "document-sync", args: { mailbox_id: user.mailboxId } },
    tenant: user.account,
    labels: { owner: user.id },
    // Two a.m. is everybody's choice.
    spread: { seconds: 600n },
    pauseAfterFailures: 20,
  };
}

// What is no time becomes an expression that Docket refuses, with the place.
function cron(time: string, weekdays: number[]): string {
  const [hour, minute] = time.split(":");
  return `${minute} ${hour} * * ${weekdays.length > 0 ? weekdays.join(",") : "*"}`;
}

// Nothing if the schedule was written by somebody else, in a way that the form cannot show.
export function toForm(schedule: Schedule): Form | undefined {
  if (schedule.timing.case !== "cron") return undefined;
  const { expressions, timeZone } = schedule.timing.value;
  const parts = expressions.map((text) => /^(\d+) (\d+) \* \* (\*|[0-6](?:,[0-6])*)$/.exec(text));
  const days = parts.map((part) => part?.[3]);
  if (days.some((text) => text === undefined || text !== days[0])) return undefined;
  const two = (text: string | undefined) => (text ?? "").padStart(2, "0");
  return {
    times: parts.map((part) => `${two(part?.[2])}:${two(part?.[1])}`),
    weekdays: days[0] === "*" ? [] : (days[0] ?? "").split(",").map(Number),
    zone: timeZone,
  };
}

// `schedule.cron.expressions[1]` is `times[1]` of the form.
export function formField(field: string): string {
  const time = /^schedule\.cron\.expressions(\[\d+\])?$/.exec(field);
  if (time) return `times${time[1] ?? ""}`;
  return field === "schedule.cron.time_zone" ? "zone" : field;
}
