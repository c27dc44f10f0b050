/*
 * The independent judge: computes from the formulas of the format description what
 * write_vectors says our code made, with other libraries in another language. It shares no
 * line with the product.
 *
 *   node check_vectors.mjs WRITE_VECTORS [ROUNDS]
 *
 * Then it changes each value once and must notice: a judge that overlooks a field is a fault.
 */
import { spawnSync } from 'node:child_process';
import { gcm } from '@noble/ciphers/aes.js';
import { xchacha20poly1305 } from '@noble/ciphers/chacha.js';
import { ed25519, ristretto255 } from '@noble/curves/ed25519.js';
import { hkdf } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256, sha512 } from '@noble/hashes/sha2.js';

const Point = ristretto255.Point;
const G = Point.BASE;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;

const text = (s) => Buffer.from(s, 'ascii');
const unhex = (s) => {
  if (!/^([0-9a-f]{2})*$/.test(s)) throw new Error('not hex');
  return Buffer.from(s, 'hex');
};
const hex = (b) => Buffer.from(b).toString('hex');
const cat = (...parts) => Uint8Array.from(Buffer.concat(parts.map((p) => Buffer.from(p))));
const le = (n, bytes) => {
  const out = Buffer.alloc(bytes);
  for (let i = 0, rest = BigInt(n); i < bytes; i++, rest >>= 8n) out[i] = Number(rest & 255n);
  return out;
};
const number = (bytes) => BigInt('0x' + hex(Buffer.from(bytes).reverse()));
const mod = (n) => ((n % L) + L) % L;
const scalar = (s) => {
  const n = number(unhex(s));
  if (n <= 0n || n >= L) throw new Error('not a canonical scalar');
  return n;
};
const inverse = (n) => {
  let result = 1n;
  for (let base = mod(n), e = L - 2n; e > 0n; e >>= 1n, base = mod(base * base))
    if (e & 1n) result = mod(result * base);
  return result;
};
const point = (s) => Point.fromHex(unhex(s));
const enc = (p) => (p instanceof Uint8Array ? p : p.toBytes());
const lp = (x) => cat(le(x.length, 4), x);
const h2s = (dst, ...xs) => mod(number(sha512(cat(lp(text(dst)), ...xs.map(lp)))));
const kdf = (ikm, salt, info, n) => hkdf(sha512, Uint8Array.from(ikm), Uint8Array.from(salt), info, n);
const aead = (suite, key, nonce, aad) =>
  (suite === 1 ? gcm : xchacha20poly1305)(
    Uint8Array.from(key), Uint8Array.from(nonce), Uint8Array.from(aad));

/* The contexts of a round, from its ids. */
const class_ctx = (r) => cat(unhex(r.patient), unhex(r.class), le(r.epoch, 4));
const file_ctx = (r) => cat(class_ctx(r), unhex(r.file), le(r.hdr_gen, 4));
const grant_ctx = (r) =>
  cat(class_ctx(r), unhex(r.grant), unhex(r.reader), unhex(r.reader_card));

const challenge = (r, E, V) => h2s('phrfs/v1/pre/pok', file_ctx(r), unhex(r.A), enc(E), enc(V));
const kem = (r, K, E, V, s) => {
  const info = cat(...[file_ctx(r), unhex(r.A), enc(E), enc(V), s].map(lp));
  const okm = kdf(enc(K), text('phrfs/v1/pre/kem'), info, 64);
  return { kek: okm.slice(0, 32), commit: okm.slice(32) };
};
const seal_keys = (shared, to, ephemeral, aad) =>
  kdf(enc(shared), text('phrfs/v1/seal'),
    cat(lp(to), lp(enc(ephemeral)), lp(sha256(Uint8Array.from(aad)))), 76);

/* Each group returns [name, what the formula gives, what the product gave]. */
const groups = {
  inputs: (r) => [
    ['file_ctx', file_ctx(r), r.file_ctx],
    ['grant_ctx', grant_ctx(r), r.grant_ctx],
    ['A', enc(G.multiply(scalar(r.a))), r.A],
    ['B', enc(G.multiply(scalar(r.b))), r.B],
  ],
  encaps: (r) => {
    const o = r.encaps;
    const [a, k, u] = [scalar(r.a), scalar(o.r), scalar(o.u)];
    const [E, V] = [G.multiply(k), G.multiply(u)];
    const h = challenge(r, E, V);
    const s = le(mod(u + k * h), 32);
    const K = point(r.A).multiply(mod(k + u));
    const keys = kem(r, K, E, V, s);
    return [
      ['E', enc(E), o.E], ['V', enc(V), o.V], ['W', enc(E.add(V)), o.W],
      ['h', le(h, 32), o.h], ['s', s, o.s], ['K', enc(K), o.K],
      ['K of the owner', enc(E.add(V).multiply(a)), o.K],
      ['kek', keys.kek, o.kek], ['kek of the owner', keys.kek, o.kek_owner],
      ['commit', keys.commit, o.commit],
    ];
  },
  encaps_unseen: (r) => {
    const o = r.encaps_unseen;
    const [E, V, s] = [point(o.E), point(o.V), scalar(o.s)];
    const keys = kem(r, E.add(V).multiply(scalar(r.a)), E, V, le(s, 32));
    const right = V.add(E.multiply(challenge(r, E, V)));
    return [
      ['s*G == V + h*E', enc(G.multiply(s)), hex(enc(right))],
      ['kek', keys.kek, o.kek], ['commit', keys.commit, o.commit],
    ];
  },
  reencryption: (r) => {
    const o = r.reencryption;
    const [a, b, x, k] = [scalar(r.a), scalar(r.b), scalar(o.x), scalar(o.k)];
    const X = G.multiply(x);
    const d_from = (shared) =>
      h2s('phrfs/v1/pre/dh', grant_ctx(r), unhex(r.A), unhex(r.B), enc(X), enc(shared));
    const d = d_from(point(r.B).multiply(x));
    const rk = mod(a * inverse(d));
    const R = G.multiply(rk);
    const [E, V] = [point(r.encaps.E), point(r.encaps.V)];
    const W = E.add(V);
    const W1 = W.multiply(rk);
    const keys = kem(r, W1.multiply(d), E, V, unhex(r.encaps.s));
    const c = h2s('phrfs/v1/pre/dleq', file_ctx(r), unhex(r.grant), unhex(r.A), enc(R), enc(W),
      enc(W1), enc(G.multiply(k)), enc(W.multiply(k)));
    return [
      ['X', enc(X), o.X], ['d', le(d, 32), o.d],
      ['d of the reader', le(d_from(X.multiply(b)), 32), o.d],
      ['rk', le(rk, 32), o.rk], ['R', enc(R), o.R],
      ['d*R == A', enc(R.multiply(d)), r.A],
      ['W1', enc(W1), o.W1], ['kek of the reader', keys.kek, o.kek_reader],
      ['kek of the writer', keys.kek, r.encaps.kek],
      ['dleq_c', le(c, 32), o.dleq_c], ['dleq_z', le(mod(k + c * rk), 32), o.dleq_z],
    ];
  },
  seal: (r) => {
    const o = r.seal;
    const [e, b] = [scalar(o.e), scalar(r.b)];
    const [aad, message, to] = [unhex(o.aad), unhex(o.message), unhex(r.B)];
    const okm = seal_keys(point(r.B).multiply(e), to, G.multiply(e), aad);
    const ct = aead(1, okm.slice(0, 32), okm.slice(64), aad).encrypt(Uint8Array.from(message));
    const other = unhex(o.sealed_unseen);
    const Ee = Point.fromHex(other.subarray(0, 32));
    const okm2 = seal_keys(Ee.multiply(b), to, Ee, aad);
    const opened = aead(1, okm2.slice(0, 32), okm2.slice(64), aad)
      .decrypt(Uint8Array.from(other.subarray(64)));
    return [
      ['sealed', cat(enc(G.multiply(e)), okm.slice(32, 64), ct), o.sealed],
      ['commitment', okm2.slice(32, 64), hex(other.subarray(32, 64))],
      ['opened', opened, o.message],
    ];
  },
  block_gcm: (r) => block(r, r.block_gcm),
  block_xchacha: (r) => block(r, r.block_xchacha),
  names: (r) => {
    const o = r.names;
    const [nk, name] = [unhex(o.nk), unhex(o.name)];
    const k_tag = kdf(nk, text('phrfs/v1/name/tag'), class_ctx(r), 32);
    const k_row = kdf(nk, text('phrfs/v1/name/row'), class_ctx(r), 32);
    const tag = hmac(sha256, k_tag, cat(lp(unhex(o.parent)), lp(name))).slice(0, 16);
    const box = unhex(o.box);
    const opened = aead(2, k_row, box.subarray(0, 24), unhex(o.tag))
      .decrypt(Uint8Array.from(box.subarray(24)));
    return [
      ['k_tag', k_tag, o.k_tag], ['k_row', k_row, o.k_row], ['tag', tag, o.tag],
      ['box', opened, o.name],
    ];
  },
  header_gcm: (r) => header(r, r.header_gcm),
  header_xchacha: (r) => header(r, r.header_xchacha),
  pop: (r) => {
    const o = r.pop;
    const [b, k, B, body] = [scalar(r.b), scalar(o.k), point(r.B), unhex(o.body)];
    const c = h2s('phrfs/v1/pop', body, enc(B), enc(G.multiply(k)));
    const [c2, z2] = [scalar(o.c_unseen), scalar(o.z_unseen)];
    const T = G.multiply(z2).subtract(B.multiply(c2));
    return [
      ['c', le(c, 32), o.c], ['z', le(mod(k + c * b), 32), o.z],
      ['unseen', le(h2s('phrfs/v1/pop', body, enc(B), enc(T)), 32), o.c_unseen],
    ];
  },
  entry: (r) => {
    const o = r.entry;
    const body = unhex(o.body);
    const rec = cat(text('PHRFS-L1'), unhex(r.patient), le(o.seq, 8), unhex(o.prev), [1],
      le(o.time, 8), unhex(o.srs), unhex(o.srs_card), le(body.length, 4), body);
    const rec_hash = sha256(cat([0], rec));
    const signed = cat(text('phrfs/v1/ledger'), [0], rec_hash);
    const sig = ed25519.sign(signed, Uint8Array.from(unhex(o.seed)));
    return [
      ['public', ed25519.getPublicKey(Uint8Array.from(unhex(o.seed))), o.public],
      ['rec_hash', rec_hash, o.rec_hash], ['sig', sig, o.sig],
      ['bytes', cat(rec, sig), o.bytes], ['leaf', sha256(cat([0], rec, sig)), o.leaf],
    ];
  },
};

function block(r, o) {
  const plain = unhex(o.plain);
  const info = cat(lp(text('phrfs/v1/seg')), lp(unhex(r.file)), lp(le(o.seg_index, 8)),
    lp(cat([o.suite, o.block_log2, o.seg_log2])));
  const key = kdf(unhex(o.fk), unhex(o.salt), info, 32);
  const sealed = aead(o.suite, key, unhex(o.nonce), cat(le(o.block_index, 4), le(plain.length, 4)))
    .encrypt(Uint8Array.from(plain));
  return [
    ['seg_key', key, o.seg_key], ['ct', sealed.slice(0, plain.length), o.ct],
    ['strip_entry', cat(unhex(o.nonce), sealed.slice(plain.length)), o.strip_entry],
  ];
}

function header(r, o) {
  const c = r.encaps;
  const aad = cat(text('PHRFS-H1'), [o.suite, 12, 22, o.keys.length], le(0, 4), file_ctx(r),
    unhex(c.E), unhex(c.V), unhex(c.s), unhex(c.commit), unhex(o.nonce));
  const plain = cat(...o.keys.map((k) => cat(le(k.gen, 4), unhex(k.fk))));
  const sealed = aead(o.suite, unhex(c.kek), unhex(o.nonce), aad).encrypt(plain);
  return [
    ['bytes', cat(aad, sealed), o.bytes],
    ['sha256', sha256(cat(aad, sealed)), o.sha256],
  ];
}

/* The names that disagree in one group; a value that does not even parse disagrees. */
function judge(name, round) {
  try {
    return groups[name](round)
      .filter(([, want, found]) => hex(want) !== found)
      .map(([what]) => `${name}: ${what}`);
  } catch (error) {
    return [`${name}: ${error.message}`];
  }
}

/* Every string and number below node, with a function that changes it and one that restores. */
function* leaves(node, path = []) {
  for (const [key, value] of Object.entries(node)) {
    if (value && typeof value === 'object') {
      yield* leaves(value, [...path, key]);
    } else {
      const other = typeof value === 'number' ? value + 1
        : value === '' ? '00' : (value[0] === '0' ? '1' : '0') + value.slice(1);
      yield { path: [...path, key], set: () => (node[key] = other), unset: () => (node[key] = value) };
    }
  }
}

function overlooked(round) {
  const missed = [];
  for (const leaf of leaves(round)) {
    const names = leaf.path.length > 1 ? [leaf.path[0]] : Object.keys(groups);
    leaf.set();
    if (!names.some((name) => judge(name, round).length > 0)) missed.push(leaf.path.join('.'));
    leaf.unset();
  }
  return missed;
}

const [writer, rounds = '4'] = process.argv.slice(2);
const run = spawnSync(writer, [rounds], { maxBuffer: 1 << 28, encoding: 'utf8' });
if (run.status !== 0) {
  console.error(`the writer of vectors failed: ${run.error ?? run.stderr}`);
  process.exit(1);
}
const all = JSON.parse(run.stdout);
const faults = all.flatMap((round, i) =>
  Object.keys(groups).flatMap((name) => judge(name, round).map((f) => `round ${i}: ${f}`)));
const missed = overlooked(all[0]);
const values = all.length * [...leaves(all[0])].length;

for (const fault of faults) console.log(`not the formula's value: ${fault}`);
for (const path of missed) console.log(`the judge overlooks a change of ${path}`);
console.log(`${all.length} rounds, about ${values} values, ${faults.length} wrong, ` +
  `${missed.length} not judged`);
process.exit(faults.length || missed.length || all.length === 0 ? 1 : 0);
