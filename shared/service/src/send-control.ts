/** What a guest (in `native` the driver domain) sends in a run: /tool/run says what, POST /send says when. docs/wire/control-plane.md section 8. */
import type { ServiceHttp } from './http.js';
import { Refusal, refuse } from './refusal.js';
import type { Found } from './session-follower.js';
import type { Poller } from '@grantline/machine';
import { SENDER_COUNTERS } from '@grantline/observe';
import { type TxDevice, type RespondApp, SendApp, type SendRun } from '@grantline/measure';
import type { Service } from './app.js';
import { Type } from '@sinclair/typebox';

const Status = Type.Object({ sending: Type.Boolean() });
/** What answers requests, beside the application that sends. */
type Responder = Pick<RespondApp, 'attach' | 'prepare' | 'flush' | 'wake'>;

export class SendControl implements Poller {
  scheduled = false;
  private readonly app: SendApp;
  private readonly responder: Responder | null;
  private readonly wake: () => void;
  private tso = false;
  private run: SendRun | null = null;
  private hasDevice = false;
  private failure: string | null = null;

  /** @param wake puts this poller to work
   *  @param responder sends through the same device */
  constructor(app: SendApp, wake: () => void, responder: Responder | null = null) {
    this.app = app;
    this.wake = wake;
    this.responder = responder;
    if (responder !== null) responder.wake = wake;
  }

  /** What packets go through from now on; null: nothing. */
  attach(device: TxDevice | null, tso: boolean): void {
    this.app.attach(device);
    this.responder?.attach(device);
    this.hasDevice = device !== null;
    if (tso !== this.tso && this.run !== null && device !== null) this.prepareApp(this.run, tso);
    if (device !== null) this.tso = tso;
  }

  /** It threw, a fault of ours, and is off the loop: it sends no more, and says why. */
  failed(err: unknown): void {
    this.failure = err instanceof Error ? err.message : String(err);
    this.run = null;
    this.app.stop();
  }

  /** A run begins that this guest sends in. @throws RangeError when frames of that kind cannot be made */
  prepare(run: SendRun): void {
    this.run = run;
    this.prepareApp(run, this.tso);
  }

  poll(): number {
    return this.app.poll() + (this.responder?.flush() ?? 0);
  }

  arm(): boolean {
    return this.app.arm();
  }

  /** For sessions: sends no more. @returns what goes on sending, once the run that was found is announced again */
  keep(): Found {
    const was = this.app.running;
    this.app.stop();
    return {
      ending: () => this.app.stop(),
      over: () => {
        if (was && this.app.start()) this.wake();
      },
    };
  }

  private prepareApp(run: SendRun, tso: boolean): void {
    if (run.responds !== true) this.app.prepare(run, tso);
    else this.responder?.prepare(run);
  }

  /** Routes that start and stop sending. */
  addRoutes(http: ServiceHttp): void {
    const status = (): { sending: boolean } => ({ sending: this.app.running });
    http.get('/send', { schema: { summary: 'Whether frames are being sent', response: { 200: Status } } }, status);
    http.post(
      '/send',
      { schema: { summary: 'Send the frames of the run', response: { 200: Status, 409: Refusal } } },
      (_request, reply) => {
        if (this.failure !== null || !this.app.start()) {
          if (this.failure !== null) return refuse(reply, 409, `the sending application failed: ${this.failure}`);
          return refuse(reply, 409, this.hasDevice ? 'no run that sends was announced' : 'the vif is not connected');
        }
        this.wake();
        return status();
      },
    );
    http.delete('/send', { schema: { summary: 'Send no more', response: { 200: Status } } }, () => {
      this.app.stop();
      return status();
    });
  }
}

/** Makes the sending application of a service, a part of it with routes of its own.
 *  @param labels of its counters @param components that its device's work and its own is charged to */
export function addSender(
  s: Pick<Service, 'space' | 'counters' | 'meter' | 'loop' | 'log' | 'http' | 'session' | 'add'>,
  labels: Record<string, string>,
  components: { device: number; application: number },
  responder: Responder,
): SendControl {
  const { space, meter, loop } = s;
  const app = new SendApp({ space, counters: s.counters.block(SENDER_COUNTERS, labels), meter, components });
  const control: SendControl = new SendControl(app, () => loop.schedule(control), responder);
  s.add({
    poller: control,
    onFault(err) {
      s.log.error({ err }, 'an exception in the sending application');
      control.failed(err);
    },
  });
  s.session.keep(() => control.keep());
  control.addRoutes(s.http);
  return control;
}
