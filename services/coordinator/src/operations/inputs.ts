import { z } from "zod";
import { parseAddress } from "@scoutsync/runtime";

// What requests carry. Text comes from query strings: numbers and truth are read from it.

export const Nothing = z.object({});

/** A node by id, name or host:port. */
export const NodeText = z.string().min(1).max(300).describe("Id, name or host:port");
export const NodeParams = z.object({ id: NodeText });

/** Existing screens send their own body along; what is in it does not matter. */
export const AnyBody = z.unknown();

export const Truth = z
  .union([z.boolean(), z.enum(["true", "false", "1", "0"])])
  .transform((given) => given === true || given === "true" || given === "1");

export const Page = z.coerce.number().int().min(1).max(1_000_000).default(1);
export const PageSize = z.coerce.number().int().min(1).max(10_000).default(50);
export const Listed = z.coerce.number().int().min(1).max(10_000).default(100);

export const Address = z
  .string()
  .refine((text) => parseAddress(text) !== null, "it is not host:port")
  .describe("host:port");
