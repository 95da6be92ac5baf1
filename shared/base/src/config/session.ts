/** A session: the time for which somebody changes a running testbed. The toolstack tells of it in xenstore, and all domains
 *  put back what they had when it began. docs/wire/control-plane.md section 11. */

export const SESSION_PATH = '/tool/session';

/** open: keep what you have, it is going to be changed. ending: nothing of the session goes on. over: configuration and run
 *  are again those that were found; what was stopped for the session goes on. */
const STAGES = ['open', 'ending', 'over'] as const;
export type SessionStage = (typeof STAGES)[number];

export interface SessionAt {
  id: number;
  stage: SessionStage;
}

export const sessionText = ({ id, stage }: SessionAt): string => `${id} ${stage}`;

/** @returns null when the text is none */
export function parseSession(text: string | null): SessionAt | null {
  const [, id, word] = /^(\d{1,9}) ([a-z]+)$/.exec(text ?? '') ?? [];
  const stage = STAGES.find((s) => s === word);
  return id === undefined || stage === undefined ? null : { id: Number(id), stage };
}

/** Where a domain says how far it has followed: the text that it has done. @param home its directory in xenstore */
export const sessionAckPath = (home: string): string => `${home}/data/session`;
