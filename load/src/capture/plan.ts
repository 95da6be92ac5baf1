/** Which services are asked for which hop of a vif, and whether the hop exists in the configuration in force. */
import { HOPS, type Hop } from '@grantline/observe';
import { configurationName, type Factors } from '@grantline/base';
import { UserError } from '../base/errors.js';
import { parseVif } from '../base/option-values.js';
import { serviceName, type Client, type DomainInfo } from '../control/client.js';
import { HttpError } from '../base/http.js';

/** One hop, and where it is captured. */
export interface HopSource {
  hop: Hop;
  vif: string;
  /** Address of the vif's guest. */
  mac: string;
  /** guest1, nic, driver-domain. */
  service: string;
  /** http://host:port, and the key of its domain. */
  http: string;
  key: string;
}

const KIND = { nic: 'nic', bridge: 'driver-domain', guest: 'guest' } as const;
const WHY_NOT: Readonly<Record<Factors['path'], Partial<Record<Hop, string>>>> = {
  split: {},
  direct: { bridge: 'the NIC and the guest have no driver domain between them' },
  native: {
    bridge: 'the application runs in the driver domain, and no vif is connected',
    guest: 'the application runs in the driver domain, and no vif is connected',
  },
};

/** Hops that frames pass in a configuration, in the order of the path; null: not known yet, then all. */
export const hopsOf = (factors: Factors | null): Hop[] =>
  HOPS.filter((hop) => factors === null || WHY_NOT[factors.path][hop] === undefined);

/** @param hop null: all that there are
 *  @throws UserError for a vif or hop that there is not, or without the operator's token */
export async function planCapture(client: Client, vif: string, hop: Hop | null): Promise<HopSource[]> {
  const { guest, device } = parseVif(vif);
  const { domains, config } = await client.testbed();
  const running = domains.filter((d) => d.state === 'running');
  const front = running.find((d) => d.kind === 'guest' && d.domid === guest);
  if (front === undefined || device !== 0) {
    const known = running.filter((d) => d.kind === 'guest').map((d) => `vif${d.domid}.0`);
    throw new UserError(
      `there is no ${vif}`,
      known.length > 0 ? `known are ${known.join(', ')}` : 'the testbed has no guest',
    );
  }
  const there = hopsOf(config);
  if (hop !== null && !there.includes(hop) && config !== null)
    throw new UserError(
      `there is no hop ${hop} in the configuration ${configurationName(config)}: ${WHY_NOT[config.path][hop]}`,
      `take --hop ${there.join(' or ')}, or another configuration`,
    );
  // All of them, also one that nothing passes now: the configuration may change while the capture goes on.
  return Promise.all((hop === null ? HOPS : [hop]).map((h) => sourceOf(client, running, front, vif, h)));
}

async function sourceOf(
  client: Client,
  running: readonly DomainInfo[],
  front: DomainInfo,
  vif: string,
  hop: Hop,
): Promise<HopSource> {
  const domain = hop === 'guest' ? front : running.find((d) => d.kind === KIND[hop]);
  if (domain === undefined)
    throw new UserError(`the testbed has no ${KIND[hop]}`, `capture at another hop, or start it again`);
  try {
    const { http, key } = await client.controlAccess(domain.domid);
    return { hop, vif, mac: front.mac ?? '', service: serviceName(domain), http, key };
  } catch (error) {
    if (error instanceof HttpError && error.status === 401)
      throw new UserError(
        "the operator's token is needed to capture",
        'run as the user who started the testbed, or give --token-file',
      );
    throw error;
  }
}
