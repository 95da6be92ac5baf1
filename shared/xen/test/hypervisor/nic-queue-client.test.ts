import t from 'tap';
import { attachQueue, detachQueue } from '../../src/hypervisor/nic-queue-client.js';
import { HypervisorError, NotNow } from '../../src/hypervisor/hypervisor-port.js';

const refusing = (code: string) => ({
  request: <T>(op: string): Promise<T> => Promise.reject(new HypervisorError({ code, message: 'no' }, op)),
});
const ARGS = {
  ...{ target: 1, header: 1, avail: 2, comp: 3, port: 4, mac: null, vlan: null },
  ...{ moderationFrames: 1, moderationUs: 1 },
};

t.test('a queue that is not there any more is detached', async (t) => {
  await detachQueue(refusing('ENOENT'), 3);
  await detachQueue(refusing('ENODEV'), 3);
  await t.rejects(detachQueue(refusing('EPERM'), 3), { code: 'EPERM' });
  await t.rejects(detachQueue(refusing('ETIMEDOUT'), 3), { code: 'ETIMEDOUT' });
});

t.test('without a NIC attaching is worth another try, a refusal is not', async (t) => {
  await t.rejects(attachQueue(refusing('ENODEV'), ARGS), NotNow);
  await t.rejects(attachQueue(refusing('ETIMEDOUT'), ARGS), NotNow);
  await t.rejects(attachQueue(refusing('EEXIST'), ARGS), { code: 'EEXIST' });
  t.equal(await attachQueue({ request: <T>() => Promise.resolve({ queue: 5 } as T) }, ARGS), 5);
});
