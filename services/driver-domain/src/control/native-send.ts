/** What a run has the applications of all guests send, in `native` from the driver domain in their place. */
import { parseDomId } from '@grantline/base';
import { frontendPath, type XenstoreClient } from '@grantline/xen';
import type { SendControl } from '@grantline/service';
import { flowsOfSender, parseSend, sendRun } from '@grantline/measure';

/** @param text of /tool/run. @throws RangeError when frames of that kind cannot be made */
export async function prepareNativeSend(
  xenstore: Pick<XenstoreClient, 'read'>,
  control: Pick<SendControl, 'prepare'>,
  text: string,
): Promise<void> {
  const part = parseSend(text);
  if (part === null) return;
  const { guests } = JSON.parse(text) as { guests: number[] };
  const flows = await Promise.all(
    guests.map(async (guest, nth) => {
      const front = frontendPath(parseDomId(guest), 0);
      const own = { mac: (await xenstore.read(`${front}/mac`)) ?? '', ip: (await xenstore.read(`${front}/ip`)) ?? '' };
      return flowsOfSender(part, nth, own);
    }),
  );
  control.prepare(sendRun(part, flows.flat()));
}
