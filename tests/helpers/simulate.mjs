// Reads simulations from standard input, one JSON array; writes "Allowed", a kind of denial, or the request's errors.
import { runSimulation } from "@cloud-copilot/iam-simulate";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const outcomes = [];
for (const simulation of JSON.parse(Buffer.concat(chunks))) {
  const result = await runSimulation(simulation, {});
  outcomes.push(result.resultType === "error" ? `Error: ${JSON.stringify(result.errors)}` : result.overallResult ?? result.analysis?.result);
}
process.stdout.write(JSON.stringify(outcomes));
