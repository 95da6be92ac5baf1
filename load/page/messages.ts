/** What the live page's server and the browser say to each other, as JSON over one WebSocket. Types only, used by both
 *  sides. Rates are per second over the last half second; tx and rx are the guest's view; frames without FCS. */

/** What is being done; `measure` is the only part whose figures count. */
export type PhaseName = 'idle' | 'configure' | 'warmup' | 'measure' | 'drain';

/** What an experiment measures. */
export type DirectionName = 'rx' | 'tx' | 'guest-to-guest' | 'rr' | 'tcp-rx' | 'tcp-tx' | 'http';

/** A number for each name. */
export type Figures = Record<string, number>;

/** One moment of the throughput chart. Short names: thousands of them are sent when a browser connects. */
export interface Point {
  /** Epoch milliseconds. */
  t: number;
  /** Configuration in force. */
  c: string;
  /** What is measured; rx when not given. */
  d?: DirectionName;
  p: PhaseName;
  /** Delivered and offered Gb/s; null where counters were reset in between. */
  g: number | null;
  o: number | null;
}

/** Frames and Gb/s on an edge of the path. */
export interface Flow {
  fps: number;
  gbps: number;
}

/** Everything on the picture of the path. */
export interface PathRates {
  /** From the guests to the far end: the edges are then the other way round. */
  out: boolean;
  /** Far end of the cable to the NIC, or out of the NIC. */
  cable: Flow;
  /** Share of the time in which flow control held the sender, 0 to 1. */
  paused: number;
  /** NIC's default queue to the driver in the driver domain. */
  defaultQueue: Flow;
  /** NIC queues straight into guests' pages. */
  guestQueues: Flow;
  /** netback to netfront over the rx rings, or the other way over the tx rings. */
  rings: Flow;
  /** Handed to applications. */
  delivered: Flow;
  hypercalls: number;
  grantOps: number;
  copies: number;
  notifications: number;
  wakeups: number;
  /** Drops per second, by "where.reason". */
  dropRates: Figures;
  /** Drops since the counters were last reset, by "where.reason". */
  drops: Figures;
}

export interface GuestRates {
  domid: number;
  name: string;
  fps: number;
  gbps: number;
  /** Share of all that was delivered, 0 to 1. */
  share: number;
  /** Cores that its data thread used for work. */
  cpu: number;
  /** Drops since the last reset, by reason. */
  drops: Figures;
}

/** One look at the counters. */
export interface Sample {
  point: Point;
  path: PathRates;
  /** Guests, and the driver domain where it is the receiver. */
  receivers: GuestRates[];
  /** CPU nanoseconds per delivered frame by "group.component", without the runtime's own threads; null without frames. */
  cpuNsPerFrame: Figures | null;
  latencyUs: { p50: number; p99: number } | null;
}

export interface VifState {
  vif: string;
  domid: number;
  backend: string;
  frontend: string;
  error: string | null;
}

export interface DomainState {
  domid: number;
  name: string;
  kind: string;
  state: string;
}

/** Where an experiment is. */
export interface Progression {
  /** Name of the comparison: its results folder. */
  run: string;
  config: string;
  direction: DirectionName;
  /** From 0. */
  round: number;
  phase: PhaseName;
  /** Mean bytes of a frame, without FCS. */
  frameBytes: number;
  guests: number;
  /** null: unlimited. */
  linkGbps: number | null;
}

/** What the experimenter is doing. */
export interface Experiment extends Progression {
  /** Epoch milliseconds at which the phase began. */
  sinceMs: number;
}

/** CPU nanoseconds for a frame. */
export interface CpuNs {
  /** The NIC model and the generator: stands for hardware, not part of total. */
  nic: number;
  driverDomain: number;
  hypervisor: number;
  guest: number;
  /** driverDomain + hypervisor + guest. */
  total: number;
  /** By "group.component". */
  components: Figures;
}

/** What a run came to, as it stands in the run's JSON. */
export interface Measured {
  config: string;
  /** From 0. */
  round: number;
  guests: number;
  /** Mean of what was sent. */
  frameBytes: number;
  offered: { framesPerSecond: number; gbps: number };
  delivered: { frames: number; bytes: number; framesPerSecond: number; gbps: number };
  /** Over the whole run, warm-up and drain included. */
  sent: number;
  lost: number;
  duplicate: number;
  reordered: number;
  corrupt: number;
  drops: Figures;
  conservation: 'ok' | string[];
  cpuNsPerFrame: CpuNs;
  perFrame: {
    grantOps: number;
    hypercalls: number;
    copies: number;
    copiedBytes: number;
    notifications: number;
    suppressed: number;
    wakeups: number;
  };
  latencyUs: { p50: number; p90: number; p99: number; p999: number; max: number } | null;
  notes: string[];
}

/** The median run of a configuration. Behind a comma its name has what was measured, where it is not frames to the guests. */
export interface Finished extends Measured {
  runs: number;
  spread: { gbps: { min: number; max: number } };
}

/** What the controls show and may do. */
export interface ControlState {
  /** null: they can be used; else why not, as a sentence. */
  blocked: string | null;
  config: string;
  guests: number;
  frameBytes: number | 'imix';
  linkGbps: number | null;
  /** True while load of this page is running. */
  loading: boolean;
  /** What is being done at the moment. */
  busy: string | null;
}

/** The capture that is under way, or the last one. */
export interface CaptureState {
  /** Hops that frames pass in the configuration in force. */
  hops: string[];
  running: { vif: string; hop: string } | null;
  /** Bytes of the file so far. */
  bytes: number;
  /** By hop: frames in the file, and frames that the ring had no room for. */
  frames: { hop: string; frames: number; overflow: number }[];
  /** What can be fetched: /capture/<id>.pcapng. */
  file: { id: string; name: string } | null;
  /** Why it ended early; else ''. */
  note: string;
}

/** Everything but samples; sent whole whenever a part of it changes. */
export interface BedState {
  /** True from the moment that all services answer. */
  ready: boolean;
  experiment: Experiment | null;
  finished: Finished[];
  domains: DomainState[];
  vifs: VifState[];
  config: string;
  settled: boolean;
  controls: ControlState;
  /** null: the testbed is starting. */
  capture: CaptureState | null;
}

/** Fixed facts; sent first. */
export interface Facts {
  /** Differs after a restart of the server: what the browser holds is then of another testbed. */
  instance: string;
  /** `up`: a testbed that stays. `compare`: ends with its comparison. */
  mode: 'up' | 'compare';
  dir: string;
  configs: string[];
  links: number[];
  frames: { min: number; max: number; imixMean: number };
  maxGuests: number;
  paper: { baselineGbps: number; optimisedGbps: number };
  sampleMs: number;
  /** Bytes that a frame takes on the wire beyond its own: preamble, FCS, gap. */
  wireOverheadBytes: number;
  /** Components of CPU time with their names for people, in the order in which bars stack them. */
  components: { key: string; label: string }[];
}

export type ToBrowser =
  | { type: 'hello'; facts: Facts; state: BedState; history: Point[]; last: Sample | null }
  | { type: 'state'; state: BedState }
  | { type: 'sample'; sample: Sample }
  | { type: 'answer'; id: number; ok: boolean; message: string }
  | { type: 'ended'; reason: string }
  /** Nothing new, but still there. */
  | { type: 'beat' };

/** Requests of the controls; each gets an answer with its id. */
export type ToServer =
  | { id: number; op: 'apply'; config: string; guests: number; frameBytes: number | 'imix'; linkGbps: number | null }
  | { id: number; op: 'start' }
  | { id: number; op: 'stop' }
  | { id: number; op: 'capture'; vif: string; hop: 'all' | 'nic' | 'bridge' | 'guest' }
  | { id: number; op: 'capture-stop' };
