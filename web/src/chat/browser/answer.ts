/** Pieces of the OpenAI wire -> a growing message, with its times. */

import type { Message, ToolCallPart } from "../model";
import type { Piece } from "./wire";

/** Add a piece that came `ms` after the request was sent. */
export function extended(message: Message, piece: Piece, ms: number): Message {
  const carries = Boolean(piece.text || piece.reasoning || piece.toolCalls?.length);
  const next: Message = {
    ...message,
    text: message.text + (piece.text ?? ""),
    reasoning: message.reasoning + (piece.reasoning ?? ""),
    parts: piece.toolCalls ? mergedCalls(message, piece.toolCalls) : message.parts,
    finish: piece.finish ?? message.finish,
    version: message.version + 1,
  };
  if (piece.usage) {
    const { prompt, cached, completion, reasoning } = piece.usage;
    next.usage = { input_uncached: prompt - cached, cache_read: cached, output_text: completion - reasoning, output_reasoning: reasoning };
  }
  if (!carries) return next;
  next.ttft_ms = message.ttft_ms ?? ms;
  next.duration_ms = ms;
  if (message.reasoning_ms === null && next.reasoning && !piece.reasoning) next.reasoning_ms = ms - next.ttft_ms;
  return next;
}

function mergedCalls(message: Message, pieces: NonNullable<Piece["toolCalls"]>): Message["parts"] {
  const parts = [...message.parts];
  for (const piece of pieces) {
    const old = parts[piece.index] as ToolCallPart | undefined; // the only kind of part on this wire
    const call: ToolCallPart = {
      type: "tool_call",
      id: piece.id ?? old?.id ?? "",
      name: piece.name ?? old?.name ?? "",
      arguments: (old?.arguments ?? "") + (piece.arguments ?? ""),
      at: old?.at ?? message.text.length,
    };
    if (old) parts[piece.index] = call;
    else parts.push(call);
  }
  return parts;
}
