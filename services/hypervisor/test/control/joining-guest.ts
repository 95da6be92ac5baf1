/** A guest that joins, and tries to be another one as well. It goes by the environment of a guest that joins, and says on a line what
 *  came of it. Not a test itself. */
import { HypervisorClient, readEnv, createLog } from '@grantline/service';

const env = readEnv('guest');
const join = (limitMs: number): Promise<HypervisorClient> => HypervisorClient.connect(env, createLog(env), limitMs);
const said: string[] = [];
const first = await join(10_000);
said.push(`guest ${first.domid}`);
for (let n = 0; n < 3; n++) said.push(await join(0).then(String, (err: Error) => err.message));
await first.close();
// What comes after it is let in.
const next = await join(10_000);
said.push(`guest ${next.domid}`);
process.stdout.write(`${JSON.stringify(said)}\n`);
// The test looks at how many there are, and ends this.
setInterval(() => {}, 1000);
