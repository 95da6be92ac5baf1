export { IP_A, IP_B, MAC_A, MAC_B, Peer, knownSecret } from './peer.js';
