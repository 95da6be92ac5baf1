/** What a run has the applications of all guests send, in `native` from the driver domain in their place. */
import { parseDomId } from '@grantline/shared/abi/page.js';
import { frontendPath } from '@grantline/shared/abi/xenbus.js';
import type { XenstoreClient } from '@grantline/shared/hypervisor/xenstore.js';
import type { SendControl } from '@grantline/shared/service/send-control.js';
import { flowsOfSender, parseSend, sendRun } from '@grantline/shared/stack/tool-run.js';

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
