export { complete, IP_A, IP_B, MAC_A, MAC_B, Peer, knownSecret, segment, TestLink } from './peer.js';
