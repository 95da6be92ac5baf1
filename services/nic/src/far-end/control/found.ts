/** What sessions change of the NIC and the cable, and what puts it back. docs/wire/control-plane.md section 11. */
import type { Keep } from '@grantline/service';
import type { Cable } from '../data/cable.js';
import type { CableInjector } from '../data/cable-faults.js';
import type { CableOut } from '../../hardware/data/cable-out.js';
import type { Loads } from './loads.js';
import type { Requests } from './requests.js';
import type { Streams } from './streams.js';

export interface FoundParts {
  cable: Cable;
  out: CableOut;
  injector: CableInjector;
  loads: Loads;
  requests: Requests;
  /** null: no TCP/IP stack stands at the far end. */
  streams: Streams | null;
  /** Puts the injector to work. */
  wake: () => void;
}

/** Load of every kind stops when a session begins, and goes on after it. */
export function keepNic({ cable, out, injector, loads, requests, streams, wake }: FoundParts): Keep {
  return () => {
    const { link } = cable;
    const { gbps } = out;
    const faults = injector.settings;
    const capture = loads.keepCapture();
    const begun = [loads.suspend(), requests.suspend(), streams?.suspend() ?? null];
    return {
      ending() {
        loads.stop();
        requests.end();
        streams?.stop();
        capture();
        cable.restore(link);
        out.setSpeed(gbps);
        if (JSON.stringify(faults) !== JSON.stringify(injector.settings)) injector.set(faults);
        wake();
      },
      over() {
        for (const goOn of begun) goOn?.();
      },
    };
  };
}
