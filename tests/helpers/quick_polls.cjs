// The CDK CLI looks at a stack every five seconds; the embedded AWS has deployed it in less than one.
const wait = globalThis.setTimeout;
globalThis.setTimeout = Object.assign((done, ms, ...rest) => wait(done, ms === 5000 ? 100 : ms, ...rest), wait);
