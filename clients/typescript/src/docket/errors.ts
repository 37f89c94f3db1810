// What a refused call says to programs: the reason and details of docs/errors.md, out of the gRPC status.

import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.js";

export type Refusal = {
  code: Code;
  // Of docs/errors.md. Empty when the client itself gave up: it got no answer in time, or no connection.
  reason: string;
  // For people who write programs; users get a text of the app's own.
  message: string;
  // Which fields are wrong, as in `schedule.cron.time_zone`, and why.
  fields: { field: string; text: string }[];
  retryAfterMs: number | undefined;
};

export function refusal(error: unknown): Refusal {
  const refused = ConnectError.from(error);
  const [info] = refused.findDetails(ErrorInfoSchema).filter((info) => info.domain === "docket");
  const [retry] = refused.findDetails(RetryInfoSchema);
  const violations = refused.findDetails(BadRequestSchema).flatMap((bad) => bad.fieldViolations);
  return {
    code: refused.code,
    reason: info?.reason ?? "",
    message: refused.rawMessage,
    fields: violations.map(({ field, description }) => ({ field, text: description })),
    retryAfterMs: retry?.retryDelay && Number(retry.retryDelay.seconds) * 1000 + retry.retryDelay.nanos / 1e6,
  };
}

// Whether the same call may succeed later, unchanged. A refusal without a reason is the client's own: the connection
// broke, or the deadline passed.
export function passes(error: unknown): boolean {
  if (!(error instanceof ConnectError)) return false;
  const { code, reason } = refusal(error);
  return code === Code.Unavailable || reason === "";
}
