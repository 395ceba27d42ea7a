"""A real language model, adapted, generates from a ring of gain cells."""

import gaincell
from gaincell.models import RingCache

model, tokenizer = gaincell.load_demo_model()
prompt = tokenizer("Gravity is", return_tensors="pt")
settings = {"max_new_tokens": 12, "do_sample": False}
print("softmax: ", tokenizer.decode(model.generate(**prompt, **settings)[0]))

gaincell.load_adapter(model, "extended")  # converts the model, and puts on what adaptation learned
cache = RingCache(model, packed=True)
print("gain cells:", tokenizer.decode(model.generate(**prompt, past_key_values=cache, **settings)[0]))
print(f"cache: {cache.bytes_per_token:.0f} bytes a token, {cache.bf16_bytes_per_token:.0f} in bfloat16")

cost = gaincell.estimate(model.config, gaincell.GainCellConfig.named("extended"))
print(
    f"attention of one token: {cost.latency_s * 1e6:.2f} us, {cost.energy_j * 1e6:.2f} uJ, {cost.area_m2 * 1e6:.0f} mm2"
)
